"""What a handshake passes before it reaches the consumer: the origin, then the identity.

Nothing here refuses a bad token by itself: a browser cannot read a refused handshake, so the reason
is put into the scope and the consumer says it on an accepted socket.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any
from urllib.parse import ParseResult, urlparse

from channels.auth import get_user
from channels.middleware import BaseMiddleware
from channels.security.websocket import OriginValidator, WebsocketDenier
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host

from . import database
from .auth import tokens
from .auth.tokens import Identity, TokenRefused
from .conf import conf
from .protocol import CloseCode, ErrorCode, ProtocolError
from .protocol.errors import unavailable
from .throttling import failures
from .throttling.buckets import network

logger = logging.getLogger("signalling")

Scope = dict[str, Any]


class OriginMiddleware(OriginValidator):
    """Refuses (403) the pages of foreign origins; no ``Origin`` at all is no browser, and may enter.

    Allowed are the site's own origin and ``SIGNALLING["ALLOWED_ORIGINS"]`` (RFC 6455, 10.2).
    """

    def __init__(self, application: Any) -> None:
        super().__init__(application, ())

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        origins = _values(scope, b"origin")
        if not origins or (len(origins) == 1 and self.allows(scope, origins[0])):
            return await self.application(scope, receive, send)
        logger.warning(
            "refused a handshake from origin %r: it is not in SIGNALLING['ALLOWED_ORIGINS']",
            [origin[:200] for origin in origins],
        )
        scope["query_string"] = tokens.redact(scope["query_string"])  # servers log refusals too
        return await WebsocketDenier()(scope, receive, send)

    def allows(self, scope: Scope, origin: str) -> bool:
        """Tell whether pages of ``origin`` may open sockets here."""
        self.allowed_origins = conf().allowed_origins
        try:
            parsed = urlparse(origin)
            return is_own(scope, parsed) or bool(self.valid_origin(parsed))
        except ValueError:  # "http://[" and the like
            return False


class JWTAuthMiddleware(BaseMiddleware):
    """Puts ``identity``, ``refusal`` and ``user`` into the scope; see PROTOCOL.md, "Identity".

    - ``scope["identity"]``: ``tokens.Identity``, or ``None`` where the handshake proves nothing
    - ``scope["refusal"]``: the ``ProtocolError`` to tell the client before the socket is closed
    - ``scope["user"]``: the user, or ``AnonymousUser``
    """

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        token = tokens.find(
            dict(scope["headers"]), scope["query_string"] if conf().query_token else b""
        )
        # Changed in place, not in a copy: the server logs the query string of this very scope.
        scope["query_string"] = tokens.redact(scope["query_string"])
        identity: Identity | None = None
        refusal: ProtocolError | None = None
        try:
            identity = await self.identify(scope, token)
        except ProtocolError as error:
            refusal = error
        except database.DATABASE_UNAVAILABLE:
            logger.exception("cannot check an identity: the database is away")
            refusal = unavailable(close=CloseCode.UNAVAILABLE)
        user = identity.user if identity else AnonymousUser()
        scope = dict(scope, identity=identity, refusal=refusal, user=user)
        return await self.inner(scope, receive, send)

    async def identify(self, scope: Scope, token: str | None) -> Identity | None:
        """Return who the handshake proves the client to be."""
        if token is not None:
            return await identify_token(token, client_address(scope))
        if conf().session_auth and _is_same_origin(scope):
            return await _identify_session(scope)
        return None


async def identify_token(token: str, address: str) -> Identity:
    """Return the identity of a token; the one way in for tokens, from a handshake or a frame.

    A good token is never throttled: somebody else at the same address may be the guesser.
    """
    key = f"token:{address}"
    try:
        identity: Identity = await database.database_sync(tokens.authenticate)(token)
    except TokenRefused as refusal:
        if refusal.code == ErrorCode.TOKEN_INVALID:  # the others were good tokens once
            failures.check(key, close=CloseCode.FLOOD)
            failures.failed(key)
        raise
    return identity


async def _identify_session(scope: Scope) -> Identity | None:
    cookies = parse_cookie("; ".join(_values(scope, b"cookie")))
    session_key = cookies.get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        return None
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = await get_user({"session": session})
    if not user.is_authenticated:
        return None
    if not user.is_active:
        raise TokenRefused(ErrorCode.USER_INACTIVE)
    return Identity(user=user)


def SignallingMiddlewareStack(inner: Any) -> Any:  # noqa: N802  (named as Channels names its stacks)
    """Return ``inner`` behind all that a site needs: mount it around the ``URLRouter``."""
    return OriginMiddleware(JWTAuthMiddleware(inner))


def client_address(scope: Scope) -> str:
    """Return the client's address as a throttle key; an IPv6 client is its /64 network."""
    client = scope.get("client")
    return network(client[0]) if client else "unknown"


def is_own(scope: Scope, origin: ParseResult) -> bool:
    """Tell whether an origin is the site's own: the host that was asked for, and a host of this site."""
    (host,) = _values(scope, b"host") or ("",)
    own = origin.netloc.lower() == host.lower() != "" and origin.scheme in ("http", "https")
    allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1"] if settings.DEBUG else [])
    # A page that has its own name resolve to this address would own any Host header.
    return own and validate_host(split_domain_port(host)[0], allowed)


def _is_same_origin(scope: Scope) -> bool:
    origins = _values(scope, b"origin")
    try:
        return len(origins) == 1 and is_own(scope, urlparse(origins[0]))
    except ValueError:
        return False


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]
