"""Which users may know that a room exists.

To all others, ``HIDE_ROOMS`` makes a room look like one that does not exist: the same error, after
the same queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from . import codes
from .conf import conf
from .exceptions import RoomError, RoomNotFound
from .models import Participant, Room

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

POLICIES = ("generated", "all", "none")
"""The values of ``HIDE_ROOMS``."""


def knows(user: AbstractBaseUser, code: str) -> bool:
    """Return whether the user knows of the room with ``code`` other than by guessing.

    Its host does, every user that is or was a participant, and staff with the permission to view
    rooms. One query, whether the room exists or not.
    """
    joined = Participant.objects.filter(room=OuterRef("pk"), user_id=user.pk)
    mine = Room.objects.filter(Q(host_id=user.pk) | Exists(joined), code=code)
    return mine.exists() or _may_view_rooms(user)


def hide_unless_known(refusal: RoomError, code: str, user: AbstractBaseUser) -> RoomError:
    """Return the error for a user whom ``CAN_JOIN`` does not admit: ``refusal``, or that no room exists.

    Call it for a room that does not exist too, so that both cases take the same time.
    """
    if knows(user, code) or not is_hidden(code):
        return refusal
    return RoomNotFound()


def is_hidden(code: str) -> bool:
    """Return whether ``HIDE_ROOMS`` hides the room with this code, if there is one."""
    policy = conf().hide_rooms
    return policy == "all" or (policy == "generated" and codes.looks_generated(code))


def _may_view_rooms(user: AbstractBaseUser) -> bool:
    # Only staff pays for the query of ``has_perm``. A custom user model need not have either.
    if not getattr(user, "is_staff", False):
        return False
    has_perm = getattr(user, "has_perm", None)
    return has_perm is not None and bool(has_perm("signalling_rooms.view_room"))
