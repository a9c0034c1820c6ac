"""Every transaction of the domain. Plain synchronous functions; raise ``RoomError`` to say no."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import Exists, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from . import codes, policies, signals, transitions
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
    UserInactive,
)
from .models import Participant, Room
from .transitions import Reason

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

ATTEMPTS = 3  # of a transaction that another one got in the way of


@dataclass(frozen=True, kw_only=True)
class ResumeState:
    """What a resume finds besides. ``previous_channel`` is where the peer was reached until now, and none
    where nobody is there any more; then ``held`` is what was kept for it. ``gap``: something was lost."""

    previous_channel: str | None
    held: Any
    gap: bool


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What a join gives: the room, the new participant and the others who were there already.

    A peer that may come back has a ``resume_token``, and one that came back has ``resumed``.
    """

    room: Room
    participant: Participant
    others: list[Participant]
    resume_token: str | None = None
    resumed: ResumeState | None = None


def open_room(
    *,
    host: AbstractBaseUser | None,
    name: str = "",
    code: str | None = None,
    topology: str = Room.Topology.AUTO,
) -> Room:
    """Open a room; ``code`` is made up unless the host wishes for one.

    ``topology``: ``Room.Topology``, how its media travel.
    Raises ``Forbidden``, ``CodeInvalid`` and ``CodeTaken``.
    """
    if host is not None and not hook(conf().can_create)(host):
        raise Forbidden
    wishes = {"name": name, "host_id": host.pk if host else None, "topology": topology}
    if code:
        return _open(codes.normalise(code), wishes)
    for _ in range(ATTEMPTS - 1):
        with suppress(CodeTaken):  # a site's own MAKE_CODE may make short ones
            return _open(codes.new(), wishes)
    return _open(codes.new(), wishes)


def find_room(code: str) -> Room:
    """Return the open room with ``code`` and its ``live_count``.

    Raises ``RoomNotFound`` and ``RoomClosed``.
    """
    try:
        room = Room.objects.with_live_counts().get(code=codes.normalise(code))
    except (CodeInvalid, Room.DoesNotExist) as missing:
        raise RoomNotFound from missing
    if not room.is_active:
        raise RoomClosed
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


def set_locked(room: Room, locked: bool) -> bool:
    """Lock a room, so that it lets nobody in but its host, or unlock it; true if that changed it."""
    with transaction.atomic():
        changed = Room.objects.filter(pk=room.pk, is_locked=not locked).update(is_locked=locked)
        room.is_locked = locked
    return bool(changed)


class SfuRequired(Exception):
    """The room wants an SFU: ask which one answers, and join again with that."""


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
    """Take a seat in the room with ``code``, in one transaction of three statements.

    The lock on the room's row lets the joins of one room pass one by one (on SQLite, IMMEDIATE
    transactions do) and leaves those of other rooms alone; the constraint on seats is the last word,
    and whom it refuses tries again in a fresh transaction. A ``resumable`` peer gets a token for
    ``resuming.resume``.

    A mesh that is full is routed through ``sfu`` in the same transaction. That is the name of one that
    answers, or empty where none does; ``None`` says that nobody has asked, and where it matters raises
    ``SfuRequired``.
    Raises ``UserInactive``, ``RoomNotFound``, ``RoomClosed``, ``RoomLocked``, ``RoomFull`` and
    ``Forbidden``.
    """
    token = secrets.token_urlsafe(32) if resumable else None
    newcomer = Participant(
        user_id=user.pk,
        peer_id=peer_id,
        channel_name=channel_name,
        worker_id=worker_id,
        resume_hash=digest(token) if token else "",
    )
    for _ in range(ATTEMPTS - 1):
        with suppress(IntegrityError):
            return _join(code, user, newcomer, token, sfu)
    return _join(code, user, newcomer, token, sfu)


def digest(token: str) -> str:
    """Return what is stored of a resume token: reading the table gives nobody a way in."""
    return hashlib.sha256(token.encode()).hexdigest()


def _join(
    code: str,
    user: AbstractBaseUser,
    newcomer: Participant,
    token: str | None,
    sfu: str | None,
) -> Joined:
    with transaction.atomic():
        room = lock_room(code, user)
        _check_door(room, user)
        others = list(room.participants.live().order_by("seat"))
        _choose_mode(room, others, sfu)
        newcomer.room = room
        newcomer.seat = _free_seat(room, others)
        newcomer.role = _role(user, room)
        newcomer.user_info = hook(conf().user_info)(user)
        newcomer.save(force_insert=True)
        _announce(signals.participant_joined, participant=newcomer)
    return Joined(room=room, participant=newcomer, others=others, resume_token=token)


def list_participants(code: str) -> list[Participant]:
    """Return the live participants of the room with ``code``."""
    return list(Participant.objects.live().filter(room__code=code).order_by("seat"))


def leave(peer_id: str, *, reason: str = Participant.Reason.LEFT, epoch: int | None = None) -> bool:
    """Free the seat of a peer. Idempotent: true only for the one call that ended the membership.

    With an ``epoch``, only while no later socket has taken the membership over.
    """
    with transaction.atomic():
        ended = Participant.objects.of_socket(peer_id, epoch).update(
            left_at=timezone.now(), seat=None, reason=reason, held=None
        )
        if ended:
            _announce_left(peer_id)
    return bool(ended)


def remove_participant(participant: Participant) -> bool:
    """End a membership from outside; its own socket, and the others, learn of it by a signal."""
    with transaction.atomic():
        removed = leave(participant.peer_id, reason=Participant.Reason.REMOVED)
        if removed:
            _announce(signals.participant_removed, participant=participant)
    return removed


def remove_user(user: AbstractBaseUser) -> None:
    """End all memberships of a user, in whichever rooms."""
    with transaction.atomic():
        for participant in Participant.objects.live().filter(user_id=user.pk):
            remove_participant(participant)


def update_participant(
    peer_id: str,
    *,
    epoch: int | None = None,
    media: dict[str, bool] | None = None,
    display_name: str | None = None,
) -> None:
    """Remember what a live peer says of itself, for those who join later. Absent values stay.

    Raises ``NotInRoom``.
    """
    with transaction.atomic():
        mine = Participant.objects.of_socket(peer_id, epoch)
        participant = mine.select_for_update().first()
        if participant is None:
            raise NotInRoom
        if media:
            participant.media |= media
        if display_name is not None:
            participant.user_info["displayName"] = display_name
        participant.save(update_fields=["media", "user_info"])


def _open(code: str, wishes: dict[str, Any]) -> Room:
    try:
        with transaction.atomic():
            room = Room.objects.create(code=code, **wishes)
            _announce(signals.room_opened, room=room)
    except IntegrityError as conflict:
        if Room.objects.filter(code=code).exists():
            raise CodeTaken from conflict
        raise
    return room


def lock_room(code: str, user: AbstractBaseUser) -> Room:
    """Return the room with its row locked. Raises ``RoomNotFound`` and ``UserInactive``."""
    # A socket may outlive its user, so the user is asked for again, in the statement that is due anyhow.
    rooms = Room.objects.select_for_update().annotate(user_is_active=Exists(_active(user)))
    try:
        found: Any = rooms.get(code=codes.normalise(code))
    except (CodeInvalid, Room.DoesNotExist) as missing:
        raise RoomNotFound from missing
    if not found.user_is_active:
        raise UserInactive
    room: Room = found
    return room


def _active(user: AbstractBaseUser) -> QuerySet[Any]:
    # ``is_active`` is a column of Django's own user, and of a custom one if that wants it.
    users = get_user_model()
    found = users._base_manager.filter(pk=user.pk)
    columns = {field.name for field in users._meta.concrete_fields}
    return found.filter(is_active=True) if "is_active" in columns else found


def _check_door(room: Room, user: AbstractBaseUser) -> None:
    if not room.is_active:
        raise RoomClosed
    if room.is_locked and not policies.is_host(user, room):
        raise RoomLocked
    if not hook(conf().can_join)(user, room):
        raise Forbidden


def _choose_mode(room: Room, others: list[Participant], sfu: str | None) -> None:
    """Route the room through an SFU where the one who comes needs it."""
    if room.mode == Room.Mode.SFU and not others:
        transitions.to_mesh(room, Reason.ROOM_SHRANK)  # nobody is there who would have to move
    if room.mode == Room.Mode.SFU or not _wants_sfu(room, others):
        return
    if sfu is None:
        raise SfuRequired
    if sfu:
        transitions.to_sfu(room, sfu, Reason.ROOM_GREW, switching=bool(others))


def _wants_sfu(room: Room, others: list[Participant]) -> bool:
    if room.no_sfu_before is not None and room.no_sfu_before > timezone.now():
        return False
    if room.topology == Room.Topology.AUTO:
        return room.p2p_limit <= len(others) < room.total_limit
    return room.topology == Room.Topology.SFU


def _free_seat(room: Room, others: list[Participant]) -> int:
    # Not only "is a seat free?": after the limit was lowered, seats above it are still taken.
    if len(others) >= room.limit:
        raise RoomFull(limit=room.limit, mode=room.mode)
    taken = {participant.seat for participant in others}
    return next(seat for seat in range(1, room.limit + 1) if seat not in taken)


def _role(user: AbstractBaseUser, room: Room) -> str:
    return Participant.Role.HOST if policies.is_host(user, room) else Participant.Role.MEMBER


def _announce(signal: Signal, **arguments: Any) -> None:
    (subject,) = arguments.values()
    signals.after_commit(signal, type(subject), **arguments)


def _announce_left(peer_id: str) -> None:
    # The row is read again only where somebody listens: a leave is one statement otherwise.
    if signals.participant_left.has_listeners(Participant):
        participant = Participant.objects.select_related("room", "user").get(peer_id=peer_id)
        _announce(signals.participant_left, participant=participant)
