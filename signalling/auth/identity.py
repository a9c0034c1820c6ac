"""The user at the other end of a socket, and the credential that proves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from django.contrib.auth.models import AbstractBaseUser

from rooms.leeway import leeway
from signalling.database import Surroundings, current
from signalling.protocol import CloseCode, ErrorCode, ProtocolError

CHUNK = 500
"""Identities that are checked per query: SQLite allows 999 parameters."""

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
