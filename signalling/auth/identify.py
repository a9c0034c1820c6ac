"""Identify a client by its access token or its Django session.

The only module that authenticates a socket: the middleware calls it for handshakes, the consumer
for ``authenticate`` events.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from rooms import addresses
from signalling import database
from signalling.conf import conf
from signalling.protocol import TOKEN_LENGTH, ErrorCode
from signalling.throttling import failures

from . import hook, sessions, tokens
from .headers import header_lines
from .identity import Identity, TokenRefused

COOKIE_LENGTH = 4096
"""The longest session cookie: browsers need not store a longer one (RFC 6265, section 6.1)."""

Scope = dict[str, Any]
"""The ASGI scope of a WebSocket connection."""


async def identify_token(token: str, address: str | None) -> Identity:
    """Return the identity that an access token proves.

    ``address`` is the result of ``own_address``: failures are counted for each address. Valid tokens
    are never throttled, because an attacker may share the address of a legitimate client.

    Raises ``TokenRefused``, with ``retry_after`` in seconds after too many invalid tokens from this
    address; the error ``unavailable`` if the token cannot be checked now; a member of
    ``database.DATABASE_UNAVAILABLE`` if the database is down.
    """
    try:
        return await _validate(token, address)
    except TokenRefused as error:
        # The other codes are for tokens that were once issued.
        if error.code != ErrorCode.TOKEN_INVALID or address is None:
            raise
        if wait := await database.database_sync(failures.wrong_token)(address):
            error.details["retry_after"] = wait
        raise


async def _validate(token: str, address: str | None) -> Identity:
    if len(token) > TOKEN_LENGTH:
        raise TokenRefused(ErrorCode.TOKEN_INVALID)
    if hook.is_set():
        return await hook.identify(token, address)
    await tokens.fetch_key(token)
    identity: Identity = await database.database_sync(tokens.authenticate)(token)
    return identity


def token_cookie(scope: Scope) -> str | None:
    """Return the token in the cookie ``TOKEN_COOKIE``, ``None`` without one.

    The caller must check the origin first: browsers send the cookie from any page.
    """
    name = conf().token_cookie
    return find_cookie(scope, name) or None if name else None


async def identify_session(scope: Scope) -> Identity | None:
    """Return the identity of the Django session in the ``Cookie`` header, ``None`` without one.

    The caller must check the origin first: browsers send the cookie from any page.

    Raises ``TokenRefused`` if the user is not active; the error ``unavailable``.
    """
    session_key = find_cookie(scope, settings.SESSION_COOKIE_NAME)
    if not session_key or len(session_key) > COOKIE_LENGTH:
        return None
    identity: Identity | None = await database.database_sync(sessions.identify)(session_key)
    return identity


def client_address(scope: Scope) -> str:
    """Return the client's address as a throttling key, as ``rooms.addresses`` does for requests."""
    client = scope.get("client")
    forwarded = header_lines(scope.get("headers", ()), b"x-forwarded-for")
    return addresses.client_address(client[0] if client else None, forwarded)


def may_be_shared(scope: Scope) -> bool:
    """Return whether the address may be that of a proxy, and so of many clients.

    A proxy that is not in ``TRUSTED_PROXIES`` is usually on the same machine or in a private network
    (RFC 1918, RFC 4193). Addresses that a trusted proxy has passed on are those of clients.
    """
    client = scope.get("client")
    peer = client[0] if client else addresses.UNKNOWN
    is_direct = client_address(scope) == addresses.network(peer)
    return is_direct and not addresses.is_public(peer)


def own_address(scope: Scope) -> str | None:
    """Return the address, ``None`` if it may be shared: no limit may count it."""
    return None if may_be_shared(scope) else client_address(scope)


def find_cookie(scope: Scope, name: str) -> str | None:
    """Return the last cookie with this name (RFC 6265, section 4.2.1), ``None`` without one.

    Not ``django.http.parse_cookie``: it removes quotes with ``http.cookies``, in quadratic time
    before Python 3.12.6 and 3.11.10 (CVE-2024-7592). Session keys are never quoted.
    """
    pairs = (
        pair.partition("=")
        for header in header_lines(scope["headers"], b"cookie")
        for pair in header.split(";")
    )
    values = [value.strip() for key, _, value in pairs if key.strip() == name]
    return values[-1] if values else None
