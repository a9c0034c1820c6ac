"""Who may do what: the defaults. A site names its own functions in ``settings.SIGNALLING``.

Policies run inside the transaction of the join, so they see the room as it is at that moment,
and a slow one makes everybody else at the door wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

    from .models import Room


def can_create(user: AbstractBaseUser) -> bool:
    """Any signed-in user may open a room."""
    return True


def can_join(user: AbstractBaseUser, room: Room) -> bool:
    """Whoever knows the code may join."""
    return True


def is_host(user: AbstractBaseUser, room: Room) -> bool:
    """The creator of a room is its host; a locked room still lets its host in."""
    return room.host_id is not None and room.host_id == user.pk


def user_info(user: AbstractBaseUser) -> dict[str, Any]:
    """What the other peers of a room are told of a user."""
    return {"username": user.get_username()}
