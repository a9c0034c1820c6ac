"""The transactions of the domain: open, find, lock and close rooms; join, leave and remove.

Plain synchronous functions. They raise a subclass of ``RoomError`` when they refuse a request.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError

from . import admission, codes, names, primary, rosters, seats, signals, user_info, visibility
from .clock import local
from .conf import conf, hook
from .digests import digest
from .exceptions import CodeInvalid, CodeTaken, Forbidden, NotInRoom, RoomClosed, RoomNotFound
from .leases import serving
from .models import Participant, Room

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

ATTEMPTS = 3  # per transaction, in case it conflicts with another one


@dataclass(frozen=True, kw_only=True)
class ResumeState:
    """What a resumed peer has to fetch or may have missed."""

    previous_channel: str | None
    """Channel of the peer's previous socket; ``None`` if no worker serves it any more."""
    held: Any
    """Frames that a retired worker held for the peer, as JSON; ``None`` if there are none."""
    gap: bool
    """Whether messages to the peer were lost."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The result of ``join`` and ``resuming.resume``."""

    room: Room
    participant: Participant
    others: list[Participant]
    """The other live participants, ordered by seat."""
    resume_token: str | None = None
    """The token that resumes this membership; ``None`` if the peer is not resumable."""
    resumed: ResumeState | None = None
    """``None`` after a join."""


def open_room(
    *,
    host: AbstractBaseUser | None,
    name: str = "",
    code: str | None = None,
    topology: str = Room.Topology.AUTO,
    unlimited: bool = False,
) -> Room:
    """Open a room and return it.

    It does not ask ``CAN_CREATE``: call ``check_may_create`` first when a user asks for the room.
    ``code``: the code of the room; ``MAKE_CODE`` makes one if it is empty or ``None``.
    ``topology``: a value of ``Room.Topology``.
    ``unlimited``: whether the host may have more than ``OPEN_ROOMS`` open rooms.
    Raise ``CodeInvalid``, ``CodeTaken`` or ``TooManyRooms``.
    """
    fields = {"name": name, "host": host, "topology": topology}
    if code:
        return _open(codes.normalise(code), fields, unlimited)
    for _ in range(ATTEMPTS - 1):
        with suppress(CodeTaken):  # likely if the site's MAKE_CODE makes short codes
            return _open(codes.new(), fields, unlimited)
    return _open(codes.new(), fields, unlimited)


def may_create(user: AbstractBaseUser) -> bool:
    """Return whether ``CAN_CREATE`` allows a user to open rooms."""
    return bool(hook(conf().can_create)(user))


def check_may_create(user: AbstractBaseUser) -> None:
    """Raise ``Forbidden`` if a user may not open rooms."""
    if not may_create(user):
        raise Forbidden


@primary.reads()
def find_room(code: str, user: AbstractBaseUser | None = None) -> Room:
    """Return the open room with ``code``, annotated with ``live_count``.

    ``user``: the user that asks; ``None`` for trusted code. Raise ``RoomNotFound`` or
    ``RoomClosed``; also ``Forbidden`` if the user neither hosts the room nor may join it.
    """
    try:
        room = Room.objects.with_live_counts().get(code=codes.normalise(code))
    except CodeInvalid as malformed:
        raise RoomNotFound from malformed
    except Room.DoesNotExist:
        missing = RoomNotFound()
        raise (visibility.hide_unless_known(missing, code, user) if user else missing) from None
    if user is not None:
        admission.check_may_see(room, user)
    elif not room.is_active:
        raise RoomClosed
    return room


def close_room(room: Room) -> None:
    """Close a room and end all its memberships. Closing a closed room has no effect."""
    with primary.atomic():
        if not Room.objects.filter(pk=room.pk, is_active=True).update(is_active=False):
            return
        room.is_active = False
        for participant in room.participants.live():
            leave(participant.peer_id, reason=Participant.Reason.ROOM_CLOSED)
        signals.send_on_commit(signals.room_closed, Room, room=room)


def set_locked(room: Room, locked: bool) -> bool:
    """Lock a room, so that only its hosts can join, or unlock it. Return whether it changed."""
    with primary.atomic():
        changed = Room.objects.filter(pk=room.pk, is_locked=not locked).update(is_locked=locked)
        room.is_locked = locked
    return bool(changed)


def join(
    *,
    code: str,
    user: AbstractBaseUser,
    peer_id: str,
    channel_name: str,
    worker_id: str | None = None,
    resumable: bool = False,
    sfu: str | None = "",
) -> Joined:
    """Take a seat in the room with ``code``, in one transaction of four statements.

    The lock on the room's row serialises joins of one room (on SQLite, IMMEDIATE transactions
    do) and does not affect other rooms. If the join still violates the constraint on seats, it
    is retried in a new transaction.

    ``resumable``: create a token for ``resuming.resume``.
    ``sfu``: the alias of a healthy SFU, through which a full mesh is routed in the same
    transaction; ``""`` if none is healthy; ``None`` if the caller has not checked yet.

    Other participants may have to leave in the same transaction; see ``rooms.seats``.

    Raise ``UserInactive``, ``RoomNotFound``, ``RoomClosed``, ``RoomLocked``, ``RoomFull``,
    ``TooManyDevices`` or ``Forbidden``; ``SfuRequired`` if ``sfu`` is ``None`` and the room
    requires an SFU.
    """
    codes.learn_format()
    token = secrets.token_urlsafe(32) if resumable else None
    newcomer = Participant(
        user_id=user.pk,
        peer_id=peer_id,
        channel_name=channel_name,
        worker_id=worker_id,
        resume_hash=digest(token) if token else "",
    )
    with serving(worker_id):
        for _ in range(ATTEMPTS - 1):
            with suppress(IntegrityError):
                return _join(code, user, newcomer, token, sfu)
        return _join(code, user, newcomer, token, sfu)


def list_participants(code: str) -> list[Participant]:
    """Return the live participants of the room with ``code``, ordered by seat."""
    return list(Participant.objects.live().filter(room__code=code).order_by("seat"))


def leave(peer_id: str, *, reason: str = Participant.Reason.LEFT, epoch: int | None = None) -> int:
    """End the live membership of a peer and free its seat, in three statements.

    ``reason``: a value of ``Participant.Reason``.
    ``epoch``: do nothing if a later socket has taken the membership over.
    Return the version of the roster without it, or 0 if this call has not ended it.
    """
    with primary.atomic():
        room = rosters.lock_room_of(peer_id)
        return rosters.end(room, peer_id, reason=reason, epoch=epoch) if room else 0


def remove_participant(
    participant: Participant,
    *,
    reason: str = Participant.Reason.REMOVED,
    locked_room: Room | None = None,
) -> bool:
    """Remove a participant from its room. Return whether this call ended the membership.

    The signals ``participant_left`` and ``participant_removed`` notify its socket and the other
    peers. ``reason``: a value of ``Participant.Reason``. ``locked_room``: its room, if the caller
    has locked the row.
    """
    with primary.atomic():
        if locked_room is None:
            version = leave(participant.peer_id, reason=reason)
        else:
            version = rosters.end(locked_room, participant.peer_id, reason=reason)
        if version:
            participant.reason, participant.roster_version = reason, version
            signals.send_on_commit(
                signals.participant_removed, Participant, participant=participant
            )
    return bool(version)


def remove_user(user: AbstractBaseUser) -> None:
    """Remove a user from all rooms."""
    with primary.atomic():
        live = Participant.objects.live().filter(user_id=user.pk)
        for participant in live.order_by("room"):  # as ``rosters.lock_unlocked`` locks the rooms
            remove_participant(participant)


def update_participant(
    peer_id: str,
    *,
    epoch: int | None = None,
    media: dict[str, bool] | None = None,
    display_name: str | None = None,
) -> Participant:
    """Store a live peer's media state and display name, for peers that join later.

    ``media``: keys to change, such as ``{"audio": True}``; other keys keep their values.
    ``display_name``: stored as ``names.clean`` returns it. ``None`` changes nothing.
    Return the participant. Raise ``DisplayNameInvalid`` or ``NotInRoom``.
    """
    stored_name = names.clean(display_name) if display_name is not None else None
    with primary.atomic():
        mine = Participant.objects.of_socket(peer_id, epoch)
        participant = mine.select_for_update(no_key=True).first()
        if participant is None:
            raise NotInRoom
        if media:
            participant.media |= media
        if stored_name is not None:
            participant.user_info["displayName"] = stored_name
        participant.save(update_fields=["media", "user_info"])
    return participant


def _open(code: str, fields: dict[str, Any], unlimited: bool) -> Room:
    try:
        with primary.atomic():
            if fields["host"] and not unlimited:
                admission.check_may_open(fields["host"])
            room = Room.objects.create(code=code, **fields)
            signals.send_on_commit(signals.room_opened, Room, room=room)
    except IntegrityError as conflict:
        if Room.objects.filter(code=code).exists():
            raise CodeTaken from conflict
        raise
    return room


def _join(
    code: str,
    user: AbstractBaseUser,
    newcomer: Participant,
    token: str | None,
    sfu: str | None,
) -> Joined:
    with primary.atomic():
        room = admission.lock_room(code, user)
        admission.check_may_join(room, user)
        others = list(room.participants.live().order_by("seat"))
        ghosts = seats.ghosts(room, user, others)
        others = _vacate(room, others, ghosts, Participant.Reason.DISCONNECTED)
        admission.choose_mode(room, others, sfu)
        evicted = seats.evictions(room, user, others)
        others = _vacate(room, others, evicted, Participant.Reason.EVICTED)
        newcomer.room, newcomer.joined_at = room, local(room.now)
        newcomer.seat = admission.free_seat(room, others)
        newcomer.role = admission.role(user, room)
        newcomer.user_info = user_info.describe(user)
        newcomer.save(force_insert=True)
        newcomer.roster_version = rosters.advance(room)
        signals.send_on_commit(signals.participant_joined, Participant, participant=newcomer)
    return Joined(room=room, participant=newcomer, others=others, resume_token=token)


def _vacate(
    room: Room, others: list[Participant], leaving: list[Participant], reason: str
) -> list[Participant]:
    """End the memberships in ``leaving``. Return the other participants."""
    for peer in sorted(leaving, key=lambda peer: -peer.pk):  # latest first, as in ``switching``
        remove_participant(peer, reason=reason, locked_room=room)
    return [participant for participant in others if participant not in leaving]
