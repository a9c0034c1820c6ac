"""Access tokens: find the JWT of a handshake, and validate it.

Tokens are validated by SimpleJWT's ``JWTAuthentication`` (with ``rooms.leeway``), so the site's own
rules apply here too: its user rule, its token classes, revocation by a password change.
(``UntypedToken`` would also accept refresh tokens.) A signed token with unusual claims can raise
undocumented exceptions in SimpleJWT.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from django.apps import apps
from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.exceptions import ExpiredTokenError, InvalidToken
from rest_framework_simplejwt.settings import api_settings

from rooms.leeway import TolerantAuthentication, leeway, tolerant
from signalling.protocol import BEARER_PREFIX, TOKEN_LENGTH, CloseCode, ErrorCode, ProtocolError

from .headers import Headers, header_value

logger = logging.getLogger("signalling")

QUERY_FIELDS = 100
"""A query string with more fields is not read."""

_MESSAGES = {
    ErrorCode.TOKEN_INVALID: "The access token is not valid; sign in again.",
    ErrorCode.TOKEN_EXPIRED: "The access token has expired; refresh it and connect again.",
    ErrorCode.TOKEN_REVOKED: "The access token has been revoked; sign in again.",
    ErrorCode.USER_INACTIVE: "This user account is not active.",
}
# SimpleJWT's error codes for a valid token whose user may not use it
_USER_CODES = {
    "user_inactive": ErrorCode.USER_INACTIVE,
    "password_changed": ErrorCode.TOKEN_REVOKED,
}


CHUNK = 500
"""Rows per query: SQLite allows 999 parameters."""
BLACKLIST = "rest_framework_simplejwt.token_blacklist"


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


@dataclass(frozen=True)
class TokenCredential:
    """A validated SimpleJWT token, and the password hash of its user when it was presented.

    A password change revokes it, whether or not the site has ``CHECK_REVOKE_TOKEN``: that only
    decides whether the token may be presented again.
    """

    token: Any
    auth_hash: str

    @property
    def jti(self) -> str:
        return str(self.token.get(api_settings.JTI_CLAIM))

    def read_user(self) -> AbstractBaseUser:
        user = _read_user(self.token)
        if auth_hash(user) != self.auth_hash:
            raise TokenRefused(ErrorCode.TOKEN_REVOKED)
        return user


def auth_hash(user: AbstractBaseUser) -> str:
    """Return a digest that changes with the user's password; empty if the model has none."""
    return str(user.get_session_auth_hash()) if hasattr(user, "get_session_auth_hash") else ""


def authenticate(token: str) -> Identity:
    """Return the identity that an access token proves. Blocking: uses the database.

    Raises ``TokenRefused``; ``DatabaseError`` if the user cannot be read.
    """
    if len(token) > TOKEN_LENGTH:
        raise TokenRefused(ErrorCode.TOKEN_INVALID)
    authentication: Any = TolerantAuthentication()
    try:
        validated = authentication.get_validated_token(token)
        user = _read_user(validated)
        return Identity(
            user=user,
            issued_at=datetime.fromtimestamp(validated.get("iat", time()), UTC),
            expires_at=datetime.fromtimestamp(validated["exp"], UTC),
            credential=TokenCredential(validated, auth_hash(user)),
        )
    except InvalidToken:
        raise TokenRefused(_why_invalid(token)) from None
    except (DatabaseError, TokenRefused):
        raise
    except (
        Exception
    ) as error:  # our signature, but claims that we never issue: RFC 7519, section 7.2
        logger.info("Refused a signed token because of its claims: %r", error)
        raise TokenRefused(ErrorCode.TOKEN_INVALID) from None


def find_blacklisted(credentials: list[TokenCredential]) -> list[TokenCredential]:
    """Return those whose token is in SimpleJWT's blacklist. Blocking: one query per ``CHUNK``."""
    if not apps.is_installed(BLACKLIST):
        return []
    found: set[str] = set()
    for start in range(0, len(credentials), CHUNK):
        found |= _blacklisted([one.jti for one in credentials[start : start + CHUNK]])
    return [one for one in credentials if one.jti in found]


def find(headers: Headers, query: bytes) -> str | None:
    """Return the token of a handshake, ``None`` if there is none.

    Looks in the ``Authorization`` header, then the subprotocols (``bearer.<token>``), then the
    query (``?token=``). The first token found is the one that counts, even if it is invalid.
    """
    scheme, _, credentials = header_value(headers, b"authorization").partition(" ")
    if scheme.lower() == "bearer":
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


def _read_user(token: Any) -> AbstractBaseUser:
    """Return the user of a validated token, by the rules of the site. Raises ``TokenRefused``."""
    authentication: Any = TolerantAuthentication()
    try:
        user: AbstractBaseUser = authentication.get_user(token)
    except InvalidToken:
        raise TokenRefused(ErrorCode.TOKEN_INVALID) from None
    except AuthenticationFailed as error:
        code = _USER_CODES.get(_code_of(error), ErrorCode.TOKEN_INVALID)
        raise TokenRefused(code) from None
    if find_blacklisted([TokenCredential(token, "")]):
        raise TokenRefused(ErrorCode.TOKEN_REVOKED)
    return user


def _blacklisted(ids: list[str]) -> set[str]:
    # SimpleJWT itself looks up refresh and sliding tokens only, and only when it decodes them.
    blacklisted = apps.get_app_config("token_blacklist").get_model("BlacklistedToken")
    rows = blacklisted._base_manager.filter(token__jti__in=ids)
    return set(rows.values_list("token__jti", flat=True))


def _fields(query: bytes) -> list[bytes]:
    """Return the fields of a query string; none of one that is longer than any client needs."""
    if len(query) > 2 * TOKEN_LENGTH or query.count(b"&") >= QUERY_FIELDS:
        return []
    return query.split(b"&")


def _name(field: bytes) -> str:
    return unquote_plus(field.partition(b"=")[0].decode("latin-1"))


def _why_invalid(token: str) -> ErrorCode:
    # JWTAuthentication raises one error for all reasons; the token classes distinguish them.
    for token_class in api_settings.AUTH_TOKEN_CLASSES:
        try:
            tolerant(token_class)(token)
        except ExpiredTokenError:
            return ErrorCode.TOKEN_EXPIRED
        except Exception:  # noqa: S112  (not expired: try the next class)
            continue
    return ErrorCode.TOKEN_INVALID


def _code_of(error: AuthenticationFailed) -> str:
    # SimpleJWT puts its error code into the details: {"detail": ..., "code": "user_inactive"}
    return str(error.detail.get("code", "")) if isinstance(error.detail, dict) else ""
