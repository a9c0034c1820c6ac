"""Validates access tokens with SimpleJWT: the only module of ``signalling`` that needs it.

Tokens are validated by SimpleJWT's ``JWTAuthentication`` (with ``rooms.api.tolerance``), so the site's
own rules apply here too: its user rule, its token classes, revocation by a password change.
(``UntypedToken`` would also accept refresh tokens.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any

from django.apps import apps
from django.contrib.auth.models import AbstractBaseUser
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.exceptions import ExpiredTokenError, InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings

from rooms import key_server
from rooms.api.tolerance import (
    TolerantAuthentication,
    fetch_keys,
    refuse_unusual_claims,
    tolerant,
)
from rooms.key_server import KeysUnavailable
from signalling.protocol import ErrorCode, errors

from .identity import CHUNK, Identity, TokenRefused, auth_hash

logger = logging.getLogger("signalling")

BLACKLIST = "rest_framework_simplejwt.token_blacklist"
# SimpleJWT's error codes for a valid token whose user may not use it
_USER_CODES = {
    "user_inactive": ErrorCode.USER_INACTIVE,
    "password_changed": ErrorCode.TOKEN_REVOKED,
}


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


async def fetch_key(token: str) -> None:
    """Wait, on the event loop, for the key of a token; at most ``key_server.SECONDS``.

    ``authenticate`` tells whether it has come.
    """
    if fetches := fetch_keys(token):
        await asyncio.wait(map(asyncio.wrap_future, fetches), timeout=key_server.SECONDS)


def authenticate(token: str) -> Identity:
    """Return the identity that an access token proves; see ``tokens.authenticate``."""
    authentication: Any = TolerantAuthentication()
    try:
        validated = authentication.get_validated_token(token)
        with refuse_unusual_claims():
            issued_at = datetime.fromtimestamp(validated.get("iat", time()), UTC)
            expires_at = datetime.fromtimestamp(validated["exp"], UTC)
    except InvalidToken as error:
        if error.__cause__ is not None:  # our signature, but claims that we never issue
            logger.info("Refused a signed token because of its claims: %r", error.__cause__)
        raise TokenRefused(_why_invalid(token)) from None
    except KeysUnavailable:
        raise errors.unavailable() from None
    user = _read_user(validated)
    credential = TokenCredential(validated, auth_hash(user))
    return Identity(user=user, issued_at=issued_at, expires_at=expires_at, credential=credential)


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


def find_blacklisted(credentials: Iterable[object]) -> list[TokenCredential]:
    """Return those whose token is in the blacklist, if it is installed; see ``tokens``."""
    if not apps.is_installed(BLACKLIST):
        return []
    held = [one for one in credentials if isinstance(one, TokenCredential)]
    found: set[str] = set()
    for start in range(0, len(held), CHUNK):
        found |= _blacklisted([one.jti for one in held[start : start + CHUNK]])
    return [one for one in held if one.jti in found]


def _blacklisted(ids: list[str]) -> set[str]:
    # SimpleJWT itself looks up refresh and sliding tokens only, and only when it decodes them.
    model = apps.get_app_config("token_blacklist").get_model("BlacklistedToken")
    rows = model._base_manager.filter(token__jti__in=ids)
    return set(rows.values_list("token__jti", flat=True))


def _why_invalid(token: str) -> ErrorCode:
    # JWTAuthentication raises one error for all reasons; the token classes distinguish them.
    for token_class in api_settings.AUTH_TOKEN_CLASSES:
        try:
            tolerant(token_class)(token)
        except ExpiredTokenError:
            return ErrorCode.TOKEN_EXPIRED
        except (TokenError, InvalidToken, KeysUnavailable):
            continue
    return ErrorCode.TOKEN_INVALID


def _code_of(error: AuthenticationFailed) -> str:
    # SimpleJWT puts its error code into the details: {"detail": ..., "code": "user_inactive"}
    return str(error.detail.get("code", "")) if isinstance(error.detail, dict) else ""
