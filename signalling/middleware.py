"""ASGI middleware for the WebSocket handshake: checks the origin, then identifies the client.

A handshake with a bad token is accepted: browsers cannot read the response to a rejected handshake.
The error goes into the scope; the consumer sends it after accepting the socket, and closes.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any
from urllib.parse import ParseResult, urlparse

from asgiref.sync import async_to_sync, iscoroutinefunction
from channels.middleware import BaseMiddleware
from channels.security.websocket import OriginValidator, WebsocketDenier
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.utils.decorators import sync_and_async_middleware

from . import database
from .auth import tokens
from .auth.identify import Scope, client_address, header_values, identify_session, identify_token
from .auth.sessions import digest
from .auth.tokens import Identity
from .conf import conf
from .protocol import CloseCode, ProtocolError
from .protocol.errors import unavailable
from .worker import revocations

logger = logging.getLogger("signalling")

LOG_SECONDS = 60.0
"""At most one rejected origin is logged in this time: any page can cause such handshakes."""


class OriginMiddleware(OriginValidator):
    """Rejects handshakes from pages of other origins with 403 (RFC 6455, section 10.2).

    Allowed origins are the site's own and ``SIGNALLING["ALLOWED_ORIGINS"]``. A handshake without an
    ``Origin`` header passes: it does not come from a browser.
    """

    def __init__(self, application: Any) -> None:
        super().__init__(application, ())
        self._silent_until = 0.0
        self._rejected = 0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        origins = header_values(scope, b"origin")
        if not origins or (len(origins) == 1 and self.allows(scope, origins[0])):
            return await self.application(scope, receive, send)
        self._log_rejected(origins)
        # Servers log rejected handshakes too.
        scope["query_string"] = tokens.redact(scope["query_string"])
        return await WebsocketDenier()(scope, receive, send)

    def allows(self, scope: Scope, origin: str) -> bool:
        """Return whether pages of ``origin`` may open sockets on this site."""
        self.allowed_origins = conf().allowed_origins
        try:
            parsed = urlparse(origin)
            return is_own(scope, parsed) or bool(self.valid_origin(parsed))
        except ValueError:  # not a URL, such as "http://["
            return False

    def _log_rejected(self, origins: list[str]) -> None:
        self._rejected += 1
        now = monotonic()
        if now < self._silent_until:
            return
        logger.warning(
            "Rejected a handshake from origin %r: not in SIGNALLING['ALLOWED_ORIGINS'] "
            "(%d rejected since the last such line)",
            [origin[:200] for origin in origins[:2]],
            self._rejected,
        )
        self._rejected, self._silent_until = 0, now + LOG_SECONDS


class JWTAuthMiddleware(BaseMiddleware):
    """Adds ``identity``, ``refusal`` and ``user`` to the scope; see PROTOCOL.md, "Identity".

    - ``scope["identity"]``: a ``tokens.Identity``, or ``None`` if the handshake has no credentials
    - ``scope["refusal"]``: the ``ProtocolError`` to send before the socket is closed, or ``None``
    - ``scope["user"]``: the user, or ``AnonymousUser``
    """

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        token = tokens.find(
            dict(scope["headers"]), scope["query_string"] if conf().query_token else b""
        )
        # Changed in place rather than in the copy: the server logs the query string of its own
        # scope.
        scope["query_string"] = tokens.redact(scope["query_string"])
        identity: Identity | None = None
        refusal: ProtocolError | None = None
        try:
            identity = await self.identify(scope, token)
        except ProtocolError as error:
            refusal = error
        except database.DATABASE_UNAVAILABLE:
            logger.exception("Database unavailable, cannot authenticate a client")
            refusal = unavailable(close=CloseCode.UNAVAILABLE)
        user = identity.user if identity else AnonymousUser()
        scope = dict(scope, identity=identity, refusal=refusal, user=user)
        return await self.inner(scope, receive, send)

    async def identify(self, scope: Scope, token: str | None) -> Identity | None:
        """Return the client's identity, ``None`` if the handshake has no credentials.

        A token takes precedence over the session, which counts on pages of the site only.
        """
        if token is not None:
            return await identify_token(token, client_address(scope))
        if conf().session_auth and _is_same_origin(scope):
            return await identify_session(scope)
        return None


def SignallingMiddlewareStack(inner: Any) -> Any:  # noqa: N802  (named like Channels' stacks)
    """Return ``inner``, usually a ``URLRouter``, wrapped in both middleware classes."""
    return OriginMiddleware(JWTAuthMiddleware(inner))


@sync_and_async_middleware
def SessionRotationMiddleware(get_response: Any) -> Any:  # noqa: N802  (named like Django's classes)
    """Django middleware, before ``SessionMiddleware``: keeps calls when a session gets a new key.

    ``update_session_auth_hash`` and a changed ``SECRET_KEY`` replace the key of the session that
    made the request. Without this middleware the sockets of that session end with the others.
    """
    if iscoroutinefunction(get_response):

        async def follow_async(request: HttpRequest) -> Any:
            response = await get_response(request)
            if rotated := _find_rotation(request):
                await revocations.push(request.session[SESSION_KEY], rotated=rotated)
            return response

        return follow_async

    def follow(request: HttpRequest) -> Any:
        response = get_response(request)
        if rotated := _find_rotation(request):
            async_to_sync(revocations.push)(request.session[SESSION_KEY], rotated=rotated)
        return response

    return follow


def _find_rotation(request: HttpRequest) -> tuple[str, str] | None:
    """Return the digest of the key that a request came with, and the key that replaces it."""
    before = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    session = getattr(request, "session", None)
    after = session.session_key if session is not None else None
    if not before or not after or before == after or SESSION_KEY not in request.session:
        return None
    return digest(before), after


def is_own(scope: Scope, origin: ParseResult) -> bool:
    """Return whether an origin is the site's own: it equals ``Host``, and the host is allowed.

    A page that was loaded over plain HTTP is not the site's own if the site uses HTTPS: an attacker
    on the network can forge such pages.
    """
    (host,) = header_values(scope, b"host") or ("",)
    schemes = ("https",) if _is_https(scope) else ("http", "https")
    own = origin.netloc.lower() == host.lower() != "" and origin.scheme in schemes
    allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1"] if settings.DEBUG else [])
    # DNS rebinding: a hostile name that resolves to this server would match any Host header.
    return own and validate_host(split_domain_port(host)[0], allowed)


def _is_https(scope: Scope) -> bool:
    """Return whether the site is known to use HTTPS, by the rules of ``HttpRequest.scheme``.

    A proxy may have decrypted the connection without a header: then HTTPS is possible, not known.
    """
    if settings.SECURE_SSL_REDIRECT or scope.get("scheme") == "wss":
        return True
    if not settings.SECURE_PROXY_SSL_HEADER:
        return False
    name, https = settings.SECURE_PROXY_SSL_HEADER
    header = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
    return any(value.split(",")[0].strip() == https for value in header_values(scope, header))


def _is_same_origin(scope: Scope) -> bool:
    origins = header_values(scope, b"origin")
    try:
        return len(origins) == 1 and is_own(scope, urlparse(origins[0]))
    except ValueError:
        return False
