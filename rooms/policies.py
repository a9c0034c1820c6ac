"""Default policies. A site can name its own functions in ``settings.SIGNALLING``.

``can_join`` and ``user_info`` run inside the transaction of a join, with the room locked. They
see the current room, and slow ones delay the other joins of that room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .user_info import default

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from .models import Room


def can_create(user: AbstractBaseUser) -> bool:
    """Return whether the user may open a room: every authenticated user may."""
    return True


def can_join(user: AbstractBaseUser, room: Room) -> bool:
    """Return whether the user may join the room: every user with the code may."""
    return True


def can_stay(user: AbstractBaseUser, room: Room) -> bool:
    """Return whether the user may go on being in the room: every user that has joined it may."""
    return True


def is_host(user: AbstractBaseUser, room: Room) -> bool:
    """Return whether the user is the room's ``host``.

    Hosts can join a locked or full room (``rooms.seats``), and can change its mode.
    """
    return room.host_id is not None and room.host_id == user.pk


def user_info(user: AbstractBaseUser) -> dict[str, Any]:
    """Return the data about a user that is sent to the other peers; see ``rooms.user_info``."""
    return default(user)
