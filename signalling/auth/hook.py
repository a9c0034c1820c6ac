"""``SIGNALLING["AUTHENTICATE"]``: a function of the site that validates tokens in place of SimpleJWT.

It may ask another server, so it runs in threads of its own, or on the event loop if it is async,
and nobody waits for it longer than ``SECONDS``. Addresses take turns for the threads: anyone can send
tokens that are slow to refuse.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import close_old_connections

from rooms.conf import hook
from rooms.deadlines import Workers
from rooms.logs import RareWarning
from signalling.conf import conf
from signalling.database import current, surrounded
from signalling.protocol import ErrorCode, errors

from .identity import Identity, TokenRefused, auth_hash

SECONDS = 5.0
"""How long the function may take, including its wait for a thread."""
THREADS = 4

_unavailable = RareWarning(
    logging.getLogger("signalling"), "SIGNALLING['AUTHENTICATE'] cannot check a token: %r"
)


@dataclass(frozen=True)
class SiteCredential:
    """A user whose token the site has accepted. The token itself is not checked again."""

    user_id: Any
    auth_hash: str

    def read_user(self) -> AbstractBaseUser:
        found = get_user_model()._base_manager.filter(pk=self.user_id).first()
        if found is None:
            raise TokenRefused(ErrorCode.TOKEN_INVALID)
        user = _require_active(found)
        if auth_hash(user) != self.auth_hash:
            raise TokenRefused(ErrorCode.TOKEN_REVOKED)
        return user


def is_set() -> bool:
    """Return whether the site validates tokens itself."""
    return bool(conf().authenticate)


async def identify(token: str, address: str | None) -> Identity:
    """Return the identity that a token proves, by the rules of the site.

    ``address``: the client's, ``None`` if many clients may have it.
    Raises ``TokenRefused``; the error ``unavailable`` after ``SECONDS``, or if the function raises
    ``OSError`` (such as ``ConnectionError`` or ``TimeoutError``); and what else the function raises.
    """
    function = hook(conf().authenticate)
    try:
        async with asyncio.timeout(SECONDS):
            user: Any = await _call(function, token, address)
    except OSError as error:
        _unavailable.log(error)
        raise errors.unavailable() from None
    if user is None:
        raise TokenRefused(ErrorCode.TOKEN_INVALID)
    if not isinstance(user, get_user_model()):
        raise TypeError(f"SIGNALLING['AUTHENTICATE'] returned a {type(user).__name__}, not a user")
    credential = SiteCredential(user.pk, auth_hash(user))
    return Identity(user=_require_active(user), credential=credential)


async def _call(function: Callable[[str], Any], token: str, address: str | None) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(token)
    call = partial(_call_in_thread, surrounded(function, current()), token)
    lane = _threads().lane(address or "")
    found = await asyncio.wrap_future(lane.submit(call))
    return await found if inspect.isawaitable(found) else found  # of an object with async __call__


def _call_in_thread(function: Callable[[str], Any], token: str) -> Any:
    close_old_connections()
    try:
        return function(token)
    finally:
        close_old_connections()


@cache
def _threads() -> Workers:
    return Workers(THREADS, "signalling-authenticate")


def _require_active(user: AbstractBaseUser) -> AbstractBaseUser:
    if not user.is_active:
        raise TokenRefused(ErrorCode.USER_INACTIVE)
    return user
