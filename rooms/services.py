"""Every transaction of the domain. Plain synchronous functions; raise ``RoomError`` to say no."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.dispatch import Signal
from django.utils import timezone

from . import codes, policies, signals
from .conf import conf, hook
from .exceptions import (
    CodeInvalid,
    CodeTaken,
    Forbidden,
    NotInRoom,
    RoomClosed,
    RoomFull,
    RoomLocked,
    RoomNotFound,
)
from .models import Participant, Room

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What a join gives: the room, the new participant and the others who were there already."""

    room: Room
    participant: Participant
    others: list[Participant]


def open_room(*, host: AbstractBaseUser | None, name: str = "", code: str | None = None) -> Room:
    """Open a room; ``code`` is made up unless the host wishes for one.

    Raises ``Forbidden``, ``CodeInvalid`` and ``CodeTaken``.
    """
    if host is not None and not hook(conf().can_create)(host):
        raise Forbidden
    chosen = codes.normalise(code or hook(conf().make_code)())
    try:
        with transaction.atomic():
            room = Room.objects.create(code=chosen, name=name, host_id=host.pk if host else None)
            _announce(signals.room_opened, room=room)
    except IntegrityError as conflict:
        raise CodeTaken from conflict
    return room


def find_room(code: str) -> Room:
    """Return the room with ``code`` and its ``live_count``; raises ``RoomNotFound``."""
    try:
        room: Room = Room.objects.with_live_counts().get(code=codes.normalise(code))
    except (CodeInvalid, Room.DoesNotExist) as missing:
        raise RoomNotFound from missing
    return room


def close_room(room: Room) -> None:
    """Let nobody in any more and send everybody home. Closing a closed room changes nothing."""
    with transaction.atomic():
        if not Room.objects.filter(pk=room.pk, is_active=True).update(is_active=False):
            return
        room.is_active = False
        for participant in room.participants.live():
            leave(participant.peer_id, reason=Participant.Reason.ROOM_CLOSED)
        _announce(signals.room_closed, room=room)


def join(*, code: str, user: AbstractBaseUser, peer_id: str, channel_name: str) -> Joined:
    """Take a seat in the room with ``code``, in one transaction of three statements.

    The lock on the room's row lets the joins of one room pass one by one (on SQLite, IMMEDIATE
    transactions do) and leaves those of other rooms alone; the constraint on seats is the last word.
    Raises ``RoomNotFound``, ``RoomClosed``, ``RoomLocked``, ``RoomFull`` and ``Forbidden``.
    """
    with transaction.atomic():
        room = _lock_room(code)
        _check_door(room, user)
        others = list(room.participants.live().order_by("seat"))
        participant = Participant.objects.create(
            room=room,
            user_id=user.pk,
            peer_id=peer_id,
            channel_name=channel_name,
            seat=_free_seat(room, others),
            role=_role(user, room),
            user_info=hook(conf().user_info)(user),
        )
        _announce(signals.participant_joined, participant=participant)
    return Joined(room=room, participant=participant, others=others)


def present(code: str) -> list[Participant]:
    """Return the live participants of the room with ``code``."""
    return list(Participant.objects.live().filter(room__code=code).order_by("seat"))


def leave(peer_id: str, *, reason: str = Participant.Reason.LEFT) -> bool:
    """Free the seat of a peer. Idempotent: true only for the one call that ended the membership."""
    with transaction.atomic():
        ended = (
            Participant.objects.live()
            .filter(peer_id=peer_id)
            .update(left_at=timezone.now(), seat=None, reason=reason)
        )
        if ended:
            _announce_left(peer_id)
    return bool(ended)


def update_presence(
    peer_id: str, *, media: dict[str, bool] | None = None, display_name: str | None = None
) -> None:
    """Remember what a live peer says of itself, for those who join later. Absent values stay.

    Raises ``NotInRoom``.
    """
    with transaction.atomic():
        participant = Participant.objects.live().select_for_update().filter(peer_id=peer_id).first()
        if participant is None:
            raise NotInRoom
        if media:
            participant.media |= media
        if display_name is not None:
            participant.user_info["displayName"] = display_name
        participant.save(update_fields=["media", "user_info"])


def _lock_room(code: str) -> Room:
    try:
        return Room.objects.select_for_update().get(code=codes.normalise(code))
    except (CodeInvalid, Room.DoesNotExist) as missing:
        raise RoomNotFound from missing


def _check_door(room: Room, user: AbstractBaseUser) -> None:
    if not room.is_active:
        raise RoomClosed
    if room.is_locked and not policies.is_host(user, room):
        raise RoomLocked
    if not hook(conf().can_join)(user, room):
        raise Forbidden


def _free_seat(room: Room, others: list[Participant]) -> int:
    taken = {participant.seat for participant in others}
    for seat in range(1, room.limit + 1):
        if seat not in taken:
            return seat
    raise RoomFull(limit=room.limit, mode=room.mode)


def _role(user: AbstractBaseUser, room: Room) -> str:
    return Participant.Role.HOST if policies.is_host(user, room) else Participant.Role.MEMBER


def _announce(signal: Signal, **arguments: Any) -> None:
    (subject,) = arguments.values()
    transaction.on_commit(partial(signal.send_robust, sender=type(subject), **arguments))


def _announce_left(peer_id: str) -> None:
    # The row is read again only where somebody listens: a leave is one statement otherwise.
    if signals.participant_left.has_listeners(Participant):
        participant = Participant.objects.select_related("room", "user").get(peer_id=peer_id)
        _announce(signals.participant_left, participant=participant)
