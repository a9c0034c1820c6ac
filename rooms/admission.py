"""Decide who may open or join a room, in which mode, and in which seat.

``services.join`` and ``resuming.resume`` call these functions in their transaction, with the
row of the room locked; ``services.open_room`` calls the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, QuerySet

from . import codes, transitions, visibility
from .conf import conf, hook
from .exceptions import (
    CodeInvalid,
    Forbidden,
    RoomClosed,
    RoomError,
    RoomFull,
    RoomLocked,
    RoomNotFound,
    SfuRequired,
    TooManyRooms,
    UserInactive,
)
from .models import Participant, Room
from .transitions import Reason

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


def check_may_open(host: AbstractBaseUser) -> None:
    """Raise ``TooManyRooms`` if a user hosts ``OPEN_ROOMS`` open rooms.

    Lock the user's row until the end of the transaction, so that simultaneous requests count the
    rooms of one another.
    """
    users = get_user_model()._base_manager.filter(pk=host.pk)
    users.select_for_update(no_key=True).values_list("pk").first()
    limit = conf().open_rooms
    if Room.objects.hosted_by(host)[:limit].count() >= limit:
        raise TooManyRooms(limit=limit)


def lock_room(code: str, user: AbstractBaseUser) -> Room:
    """Return the room with ``code`` and its ``now``; lock its row until the end of the transaction.

    Raise ``RoomNotFound``, or ``UserInactive`` if the user was deactivated or deleted.
    """
    # A socket can outlive its user. The same statement that locks the room checks the user.
    rooms = Room.objects.select_for_update(no_key=True).with_now()
    with_user = rooms.annotate(user_is_active=Exists(_active(user)))
    try:
        found: Any = with_user.get(code=codes.normalise(code))
    except CodeInvalid as malformed:
        raise RoomNotFound from malformed
    except Room.DoesNotExist:
        raise visibility.hide_unless_known(RoomNotFound(), codes.normalise(code), user) from None
    if not found.user_is_active:
        raise UserInactive
    room: Room = found
    return room


def check_may_join(room: Room, user: AbstractBaseUser) -> None:
    """Raise ``RoomClosed``, ``RoomLocked`` or ``Forbidden`` if the user may not join the room.

    Raise ``RoomNotFound`` instead if the user may not know of it.
    """
    if not room.is_active:
        raise hide_unless_admitted(RoomClosed(), room, user)
    if room.is_locked and not hook(conf().is_host)(user, room):
        raise hide_unless_admitted(RoomLocked(), room, user)
    if not hook(conf().can_join)(user, room):
        raise visibility.hide_unless_known(Forbidden(), room.code, user)


def check_may_see(room: Room, user: AbstractBaseUser) -> None:
    """Raise ``RoomClosed`` or ``Forbidden`` if the user may not read about the room.

    Raise ``RoomNotFound`` instead if the user may not know of it.
    """
    if not room.is_active:
        raise hide_unless_admitted(RoomClosed(), room, user)
    if not hook(conf().is_host)(user, room) and not hook(conf().can_join)(user, room):
        raise visibility.hide_unless_known(Forbidden(), room.code, user)


def hide_unless_admitted(refusal: RoomError, room: Room, user: AbstractBaseUser) -> RoomError:
    """Return the error for a refused user: ``refusal``, or that the room does not exist.

    A user that ``CAN_JOIN`` admits may know of the room.
    """
    if hook(conf().can_join)(user, room):
        return refusal
    return visibility.hide_unless_known(refusal, room.code, user)


def may_stay(code: str, user: AbstractBaseUser) -> bool:
    """Return whether ``CAN_STAY`` allows a user to be in the open room with ``code`` any longer."""
    room = Room.objects.filter(code=code, is_active=True).first()
    return room is None or bool(hook(conf().can_stay)(user, room))


def choose_mode(room: Room, others: list[Participant], sfu: str | None) -> None:
    """Route the room through ``sfu`` if one more participant requires it.

    ``others``: the live participants. ``sfu``: the alias of a healthy SFU, ``""`` if none is
    healthy, or ``None`` if the caller has not checked yet. Raise ``SfuRequired`` if the room
    requires an SFU and ``sfu`` is ``None``.
    """
    if room.mode == Room.Mode.SFU and not others:
        transitions.to_mesh(room, Reason.ROOM_SHRANK)  # the room is empty: no peer has to switch
    if room.mode == Room.Mode.SFU or not _requires_sfu(room, others):
        return
    if sfu is None:
        raise SfuRequired
    if sfu:
        transitions.to_sfu(room, sfu, Reason.ROOM_GREW, switching=bool(others))


def free_seat(room: Room, others: list[Participant]) -> int:
    """Return the lowest free seat, from 1. Raise ``RoomFull`` if the room is at its limit."""
    # Count the peers as well: seats above a limit that was lowered may still be occupied.
    if len(others) >= room.limit:
        raise RoomFull(limit=room.limit, mode=room.mode)
    taken = {participant.seat for participant in others}
    return next(seat for seat in range(1, room.limit + 1) if seat not in taken)


def role(user: AbstractBaseUser, room: Room) -> str:
    """Return the ``Participant.Role`` of the user in the room."""
    return Participant.Role.HOST if hook(conf().is_host)(user, room) else Participant.Role.MEMBER


def _active(user: AbstractBaseUser) -> QuerySet[Any]:
    # Django's own user model has a column ``is_active``; a custom one need not have it.
    users = get_user_model()
    found = users._base_manager.filter(pk=user.pk)
    columns = {field.name for field in users._meta.concrete_fields}
    return found.filter(is_active=True) if "is_active" in columns else found


def _requires_sfu(room: Room, others: list[Participant]) -> bool:
    if room.no_sfu_before is not None and room.no_sfu_before > room.now:
        return False
    if room.topology == Room.Topology.AUTO:
        return room.p2p_limit <= len(others) < room.total_limit
    return room.topology == Room.Topology.SFU
