"""Throttle guesses at room codes, from sockets, the REST API and pages together.

All of them call the services of this package through these functions. Failures count strictly for
each user, and leniently for each address, which others share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from . import codes, visibility
from .exceptions import CodeInvalid, CodeTaken, RateLimited, RoomNotFound
from .failures import Throttle

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

T = TypeVar("T")

throttle = Throttle("code")


def guess(
    service: Callable[..., T], /, *, code: str, user: AbstractBaseUser, address: str, **options: Any
) -> T:
    """Call a service that looks up a room by its code, as ``service(code=code, user=user, …)``.

    Count ``RoomNotFound`` as a failure. While the user must wait, raise ``RateLimited`` for every
    code, whether it is right or wrong, so that the answer reveals nothing. Rooms that the user
    knows already are never refused. Malformed text is no guess, because no room has such a code.
    """
    try:
        wanted = codes.normalise(code)
    except CodeInvalid:
        raise RoomNotFound from None
    keys = _keys(user, address)
    wait = throttle.wait(*keys)
    if wait and not visibility.knows(user, wanted):
        raise RateLimited(retry_after=wait)
    try:
        return service(code=wanted, user=user, **options)
    except RoomNotFound:
        throttle.failed(*keys)
        raise


@contextmanager
def throttle_chosen_code(
    code: str | None, *, user: AbstractBaseUser, address: str
) -> Iterator[None]:
    """Throttle the creation of a room with a chosen code: the answer tells whether it is taken.

    A taken code counts as a failure, unless the user knows the room. So does a free one that looks
    generated: it is a guess at the codes of others, and not a name. ``None`` or ``""`` is not a
    chosen code. Raise ``RateLimited`` or ``CodeInvalid``.
    """
    if not code:
        yield
        return
    keys, wanted = _keys(user, address), codes.normalise(code)
    throttle.check(*keys)
    try:
        yield
    except CodeTaken:
        if not visibility.knows(user, wanted):
            throttle.failed(*keys)
        raise
    if codes.looks_generated(wanted):
        throttle.failed(*keys)


def _keys(user: AbstractBaseUser, address: str) -> tuple[str, str]:
    return f"user:{user.pk}", f"address:{address}"
