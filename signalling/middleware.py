"""ASGI middleware for the WebSocket handshake, and three middleware classes of Django.

The ASGI middleware limits the sockets of an address, checks the origin, identifies the client,
limits the sockets of the user, and finds the path at which the site is mounted.

A handshake with a bad token is accepted: browsers cannot read the response to a rejected handshake.
The error goes into the scope; the consumer sends it after accepting the socket, and closes.
"""

from __future__ import annotations

import logging
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from channels.middleware import BaseMiddleware
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from rooms.content_types import is_allowed
from rooms.digests import digest
from rooms.logs import RareWarning

from . import database
from .auth import origins, tokens
from .auth.headers import header_lines
from .auth.identify import (
    Scope,
    client_address,
    identify_session,
    identify_token,
    may_be_shared,
    own_address,
    token_cookie,
)
from .auth.identity import Identity
from .conf import conf
from .handshakes import ContextMiddleware, ScriptNameMiddleware
from .peers.replies import internal_error
from .protocol import CloseCode, ProtocolError
from .protocol.errors import unavailable
from .throttling import occupancy
from .throttling.occupancy import UserPlace
from .worker import health, pushes

logger = logging.getLogger("signalling")

# An outage closes many sockets, whose clients try again.
_unavailable = RareWarning(logger, "Database unavailable, cannot authenticate a client: %s")


class AddressLimitMiddleware:
    """Rejects handshakes of an address that has ``SOCKETS_PER_ADDRESS`` sockets open.

    It comes first, before any work. The status is 429, or 403 with a server that cannot send others
    (Daphne). An address that may be that of many clients is not limited.
    """

    def __init__(self, application: Any) -> None:
        self.application = application
        self._warning = RareWarning(
            logger,
            "Rejected a handshake from %s: it has SIGNALLING['SOCKETS_PER_ADDRESS'] sockets open. If "
            "this is a proxy, see TRUSTED_PROXIES",
        )

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        if may_be_shared(scope):
            return await self.application(scope, receive, send)
        address = client_address(scope)
        if not occupancy.addresses.enter(address, conf().sockets_per_address):
            self._warning.log(address)
            return await self._reject(scope, receive, send)
        try:
            return await self.application(scope, receive, send)
        finally:
            occupancy.addresses.leave(address)

    async def _reject(self, scope: Scope, receive: Any, send: Any) -> Any:
        _hide_token(scope)
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            return await WebsocketDenier()(scope, receive, send)
        retry_after = str(occupancy.RETRY_SECONDS).encode()
        start = {"type": "websocket.http.response.start", "status": 429}
        await send({**start, "headers": [(b"retry-after", retry_after)]})
        return await send({"type": "websocket.http.response.body", "body": b""})


class OriginMiddleware:
    """Rejects handshakes from pages of other origins with 403 (RFC 6455, section 10.2).

    Allowed origins are the site's own and ``SIGNALLING["ALLOWED_ORIGINS"]``. A handshake without an
    ``Origin`` header passes: it does not come from a browser.
    """

    def __init__(self, application: Any) -> None:
        self.application = application
        self._warning = RareWarning(
            logger,
            "Rejected a handshake from origin %r: not in SIGNALLING['ALLOWED_ORIGINS']",
        )

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        sent = header_lines(scope["headers"], b"origin")
        if not sent or (len(sent) == 1 and self.allows(scope, sent[0])):
            return await self.application(scope, receive, send)
        self._warning.log([origin[:200] for origin in sent[:2]])
        _hide_token(scope)
        return await WebsocketDenier()(scope, receive, send)

    def allows(self, scope: Scope, origin: str) -> bool:
        """Return whether pages of ``origin`` may open sockets on this site."""
        return origins.is_own(scope, origin) or origins.is_allowed(origin, conf().allowed_origins)


class JWTAuthMiddleware(BaseMiddleware):
    """Adds ``identity``, ``refusal`` and ``user`` to the scope; see PROTOCOL.md, "Identity".

    - ``scope["identity"]``: an ``identity.Identity``, or ``None`` if the handshake has no credentials
    - ``scope["refusal"]``: the ``ProtocolError`` to send before the socket is closed, or ``None``
    - ``scope["user"]``: the user, or ``AnonymousUser``
    - ``scope["place"]``: the ``UserPlace`` of this socket; the consumer takes it for a client that
      authenticates later
    """

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        query = scope["query_string"] if conf().query_token else b""
        token = tokens.find(scope["headers"], query)
        _hide_token(scope)
        with UserPlace(conf().sockets_per_user) as place:
            identity: Identity | None = None
            refusal: ProtocolError | None = None
            try:
                identity = await self.identify(scope, token)
                if identity is not None:
                    place.take(identity.user.pk)
            except ProtocolError as error:
                identity, refusal = None, error
                error.close = error.close or CloseCode.UNAVAILABLE
            except database.DATABASE_UNAVAILABLE as error:
                _unavailable.log(error)
                refusal = unavailable(close=CloseCode.UNAVAILABLE)
            except Exception:  # a bug, perhaps of the site: the credentials may be valid
                refusal = internal_error("a handshake", CloseCode.INTERNAL)
            user = identity.user if identity else AnonymousUser()
            scope = dict(scope, identity=identity, refusal=refusal, user=user, place=place)
            return await self.inner(scope, receive, send)

    async def identify(self, scope: Scope, token: str | None) -> Identity | None:
        """Return the client's identity, ``None`` if the handshake has no credentials.

        A token takes precedence over the session. Cookies count on pages of the site only.
        """
        is_own_page = _is_same_origin(scope)
        if token is None and is_own_page:
            token = token_cookie(scope)
        if token is not None:
            return await identify_token(token, own_address(scope))
        if conf().session_auth and is_own_page:
            return await identify_session(scope)
        return None


def SignallingMiddlewareStack(inner: Any) -> Any:  # noqa: N802  (named like Channels' stacks)
    """Return ``inner``, usually a ``URLRouter``, wrapped in the middleware classes above."""
    identified = ContextMiddleware(JWTAuthMiddleware(ScriptNameMiddleware(inner)))
    return AddressLimitMiddleware(OriginMiddleware(identified))


def _hide_token(scope: Scope) -> None:
    """Remove the token from the query string: servers log it, also of rejected handshakes.

    The scope is changed in place, because the server logs its own.
    """
    scope["query_string"] = tokens.redact(scope["query_string"])


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
                await pushes.push([request.session[SESSION_KEY]], rotated=rotated)
            return response

        return follow_async

    def follow(request: HttpRequest) -> Any:
        response = get_response(request)
        if rotated := _find_rotation(request):
            async_to_sync(pushes.push)([request.session[SESSION_KEY]], rotated=rotated)
        return response

    return follow


@sync_and_async_middleware
def CharsetMiddleware(get_response: Any) -> Any:  # noqa: N802  (named like Django's classes)
    """Answers requests with 415 whose charset could take quadratic time to decode.

    It is a middleware of Django, and comes first. The two server commands do the same by themselves.
    """

    def is_refused(request: HttpRequest) -> bool:
        return not is_allowed(request.META.get("CONTENT_TYPE", ""))

    if iscoroutinefunction(get_response):

        async def respond_async(request: HttpRequest) -> Any:
            return HttpResponse(status=415) if is_refused(request) else await get_response(request)

        return respond_async

    def respond(request: HttpRequest) -> Any:
        return HttpResponse(status=415) if is_refused(request) else get_response(request)

    return respond


@sync_and_async_middleware
def ProbeMiddleware(get_response: Any) -> Any:  # noqa: N802  (named like Django's classes)
    """Answers the probes ``health/live/`` and ``health/ready/`` before any other middleware.

    It is a middleware of Django. A probe sends the address of the process as its ``Host``, over plain
    HTTP. Other middleware would refuse that, redirect it, or use the database.
    """
    if iscoroutinefunction(get_response):

        async def respond_async(request: HttpRequest) -> Any:
            probe = health.find_probe(request.path_info)
            return await (probe or get_response)(request)

        return respond_async

    def respond(request: HttpRequest) -> Any:
        probe = health.find_probe(request.path_info)
        return async_to_sync(probe)(request) if probe else get_response(request)

    return respond


def _find_rotation(request: HttpRequest) -> tuple[str, str] | None:
    """Return the digest of the key that a request came with, and the key that replaces it."""
    before = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    session = getattr(request, "session", None)
    after = session.session_key if session is not None else None
    if not before or not after or before == after or SESSION_KEY not in request.session:
        return None
    return digest(before), after


def _is_same_origin(scope: Scope) -> bool:
    sent = header_lines(scope["headers"], b"origin")
    return len(sent) == 1 and origins.is_own(scope, sent[0])
