"""Access tokens: find the token of a handshake, and the identity that it proves.

``simple_jwt`` validates tokens. SimpleJWT is optional: without it, no token is valid.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser

from rooms import extras
from rooms.leeway import leeway
from rooms.logs import RareWarning
from signalling.database import Surroundings, current
from signalling.protocol import BEARER_PREFIX, TOKEN_LENGTH, CloseCode, ErrorCode, ProtocolError

from .headers import Headers, header_value

logger = logging.getLogger("signalling")

BLACKLIST = "rest_framework_simplejwt.token_blacklist"
CHUNK = 500
"""Rows per query: SQLite allows 999 parameters."""
QUERY_FIELDS = 100
"""A query string with more fields is not read."""

_unsupported = RareWarning(
    logger, "Refused an access token, because SimpleJWT is not installed: %s"
)
_MESSAGES = {
    ErrorCode.TOKEN_INVALID: "The access token is not valid; sign in again.",
    ErrorCode.TOKEN_EXPIRED: "The access token has expired; refresh it and connect again.",
    ErrorCode.TOKEN_REVOKED: "The access token has been revoked; sign in again.",
    ErrorCode.USER_INACTIVE: "This user account is not active.",
}


class Credential(Protocol):
    """The proof of an identity. ``signalling.auth.revocation`` examines it again and again."""

    def read_user(self) -> AbstractBaseUser:
        """Return the user that it proves now. Blocking: reads the database.

        Raises ``TokenRefused`` if it has been revoked; ``DatabaseError``.
        """


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An authenticated user.

    ``issued_at`` and ``expires_at`` are those of the token, ``None`` for a session. ``user`` is the
    user as of the authentication; ``credential`` reads it as it is now.
    """

    user: AbstractBaseUser
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    credential: Credential | None = None
    surroundings: Surroundings = field(default_factory=current, compare=False, repr=False)
    """Those of the socket that has proved the identity."""

    @property
    def user_key(self) -> str:
        return user_key(self.user.pk)

    @property
    def ends_at(self) -> datetime | None:
        """When the token no longer proves anything: ``expires_at`` and the leeway."""
        return None if self.expires_at is None else self.expires_at + leeway()

    @property
    def has_expired(self) -> bool:
        return self.ends_at is not None and self.ends_at <= datetime.now(UTC)


def user_key(pk: Any) -> str:
    """Return the name of a user in messages between workers and in tables of limits."""
    return str(pk)


class TokenRefused(ProtocolError):
    """The token was refused. The client gets the error, and the socket is closed with 4401."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code, _MESSAGES[code], close=CloseCode.AUTHENTICATION)


def auth_hash(user: AbstractBaseUser) -> str:
    """Return a digest that changes with the user's password; empty if the model has none."""
    return str(user.get_session_auth_hash()) if hasattr(user, "get_session_auth_hash") else ""


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
    if not apps.is_installed(BLACKLIST):
        return []
    from . import simple_jwt

    held = [one for one in credentials if isinstance(one, simple_jwt.TokenCredential)]
    found: set[str] = set()
    for start in range(0, len(held), CHUNK):
        found |= simple_jwt.blacklisted([one.jti for one in held[start : start + CHUNK]])
    return [one for one in held if one.jti in found]


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
