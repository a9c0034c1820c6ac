"""Access tokens: find the token of a handshake, and the identity that it proves.

``simple_jwt`` validates tokens. SimpleJWT is optional: without it, no token is valid.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from django.conf import settings

from rooms import extras
from rooms.logs import RareWarning
from signalling.protocol import BEARER_PREFIX, TOKEN_LENGTH, ErrorCode

from .headers import Headers, header_value
from .identity import Identity, TokenRefused

logger = logging.getLogger("signalling")

QUERY_FIELDS = 100
"""A query string with more fields is not read."""

_unsupported = RareWarning(
    logger, "Refused an access token, because SimpleJWT is not installed: %s"
)


async def fetch_key(token: str) -> None:
    """Wait a moment for the key of a token, if it is on another server; before ``authenticate``."""
    if is_supported():
        from . import simple_jwt

        await simple_jwt.fetch_key(token)


def authenticate(token: str) -> Identity:
    """Return the identity that an access token proves. Blocking: uses the database.

    Raises ``TokenRefused``; the error ``unavailable`` if the token cannot be checked now;
    ``DatabaseError`` if the user cannot be read. Any other exception is a bug.
    """
    if len(token) > TOKEN_LENGTH:
        raise TokenRefused(ErrorCode.TOKEN_INVALID)
    if not is_supported():
        _unsupported.log(extras.command("jwt"))
        raise TokenRefused(ErrorCode.TOKEN_INVALID)
    from . import simple_jwt

    return simple_jwt.authenticate(token)


def is_supported() -> bool:
    """Return whether access tokens can be validated: whether SimpleJWT is installed."""
    return extras.is_installed("rest_framework_simplejwt")


def find_blacklisted(credentials: Iterable[object]) -> list[Any]:
    """Return those whose token is in SimpleJWT's blacklist. Blocking: one query per ``CHUNK``."""
    if not is_supported():
        return []
    from . import simple_jwt

    return simple_jwt.find_blacklisted(credentials)


def find(headers: Headers, query: bytes) -> str | None:
    """Return the token of a handshake, ``None`` if there is none.

    Looks in the ``Authorization`` header, or that of SimpleJWT's ``AUTH_HEADER_NAME``, then in the
    subprotocols (``bearer.<token>``), then in the query (``?token=``). The first token found is the
    one that counts, even if it is invalid.
    """
    name, schemes = _header()
    scheme, _, credentials = header_value(headers, name).partition(" ")
    if scheme.lower() in schemes:
        return credentials.strip()
    for offered in subprotocols(headers):
        if offered.startswith(BEARER_PREFIX):
            return offered.removeprefix(BEARER_PREFIX)
    return dict(parse_qsl(b"&".join(_fields(query)).decode("latin-1"))).get("token")


def subprotocols(headers: Headers) -> list[str]:
    """Return the names in ``Sec-WebSocket-Protocol`` (RFC 6455, section 11.3.4)."""
    offered = header_value(headers, b"sec-websocket-protocol")
    return [name.strip() for name in offered.split(",") if name.strip()]


def redact(query: bytes) -> bytes:
    """Return the query string without the token: servers log the query of a handshake."""
    return b"&".join(field for field in _fields(query) if _name(field) != "token")


def _header() -> tuple[bytes, set[str]]:
    """Return the name of the header with the token, and its schemes, both in lower case.

    ``Bearer`` counts in every site: clients of signalling send it.
    """
    given = getattr(settings, "SIMPLE_JWT", {})
    name = given.get("AUTH_HEADER_NAME", "HTTP_AUTHORIZATION").removeprefix("HTTP_")
    types = given.get("AUTH_HEADER_TYPES", ())
    schemes = {scheme.lower() for scheme in ([types] if isinstance(types, str) else types)}
    return name.replace("_", "-").lower().encode(), {"bearer", *schemes}


def _fields(query: bytes) -> list[bytes]:
    """Return the fields of a query string; none of one that is longer than any client needs."""
    if len(query) > 2 * TOKEN_LENGTH or query.count(b"&") >= QUERY_FIELDS:
        return []
    return query.split(b"&")


def _name(field: bytes) -> str:
    return unquote_plus(field.partition(b"=")[0].decode("latin-1"))
