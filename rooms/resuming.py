"""Memberships that outlive their socket: a peer becomes away, then resumes or expires.

A resume token is valid once; each resume returns a new one. The previous token stays valid for
``REPLY_SECONDS``, in case the reply with the new one was lost.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from . import admission, codes, leases, primary, rosters, services, signals
from .conf import conf, hook
from .digests import digest
from .exceptions import (
    Evicted,
    Forbidden,
    Removed,
    ResumeExpired,
    ResumeInvalid,
    RoomClosed,
    RoomNotFound,
)
from .models import Participant, Room
from .services import Joined, ResumeState

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

REPLY_SECONDS = 10


def mark_away(peer_id: str, *, epoch: int, lost_at: float, gap: bool = False) -> int:
    """Mark a peer that has lost its socket as away. It keeps its seat for ``RESUME_WINDOW``.

    ``lost_at``: ``time.monotonic`` when it lost its socket; this write may have waited since.
    ``gap``: messages to it were lost. Return the new version of the roster; 0 if the peer has
    left, is away already, or has a later socket than that of ``epoch``.
    """
    lost = {"has_gap": True} if gap else {}
    left = timedelta(seconds=conf().resume_window - (monotonic() - lost_at))
    mine = Participant.objects.of_socket(peer_id, epoch).filter(away_until=None)
    with primary.atomic():
        room = rosters.lock_room_of(peer_id)
        return rosters.change(room, mine, away_until=Now() + left, **lost) if room else 0


def store_held(peer_id: str, *, epoch: int, held: Any) -> bool:
    """Store the frames held for a peer that is away, so that it can resume on any worker.

    ``held``: any JSON value. ``resume`` returns it in ``ResumeState``. Return false if the peer has
    resumed, or has left: then nothing is stored.
    """
    with primary.write():
        return Participant.objects.of_socket(peer_id, epoch).update(held=held) > 0


def resume(
    *, code: str, user: AbstractBaseUser, token: str, channel_name: str, worker_id: str | None
) -> Joined:
    """Move a membership to a new socket of its user, in one transaction.

    Raise ``ResumeInvalid``, ``ResumeExpired``, ``Removed`` or ``Evicted``; also ``UserInactive``,
    ``RoomNotFound``, ``RoomClosed`` or ``Forbidden``, as ``services.join`` does. A locked room
    still admits its participants, and no limit of seats applies: the peer has its seat.
    """
    codes.learn_format()
    with leases.serving(worker_id), primary.atomic():
        try:
            room = admission.lock_room(code, user)
        except RoomNotFound:
            _memberships(user, digest(token)).filter(room=0).exists()  # see ``rooms.visibility``
            raise
        participant = _find(room, user, digest(token))
        if not hook(conf().can_join)(user, room):
            raise Forbidden
        # A worker that has stored the held frames in the row no longer hands them over.
        is_reachable = participant.worker_id is not None and participant.held is None
        found = ResumeState(
            previous_channel=participant.channel_name if is_reachable else None,
            held=participant.held,
            # A client that uses the previous token did not receive the last reply, nor the
            # messages sent after it.
            gap=participant.has_gap or participant.resume_hash != digest(token),
        )
        new_token = secrets.token_urlsafe(32)
        _rotate(room, participant, digest(token), digest(new_token))
        participant.channel_name = channel_name
        participant.worker_id = worker_id
        participant.epoch += 1
        participant.away_until = participant.held = None
        participant.has_gap = False
        participant.save(update_fields=_RESUME_FIELDS)
        participant.roster_version = rosters.advance(room)
        others = room.participants.live().exclude(pk=participant.pk)
        return Joined(
            room=room,
            participant=participant,
            others=list(others.order_by("seat")),
            resume_token=new_token,
            resumed=found,
        )


def end_expired() -> None:
    """End the memberships whose resume window has passed.

    Every worker calls this; each membership is ended and announced once. Rows that another
    transaction has locked are left to the next call, so that they delay no other room.
    """
    late = Participant.objects.live().filter(away_until__lt=Now())
    with primary.atomic():
        ended = rosters.end_unlocked(late, reason=Participant.Reason.DISCONNECTED)
    if ended:
        signals.participants_lost.send_robust(Participant, left=ended, away=[])


def end_revoked(peer_id: str, *, epoch: int, reason: str) -> None:
    """End the membership of a peer without a socket whose user may not return, and announce it.

    ``reason``: a value of ``Participant.Reason``.
    """
    found = Participant.objects.of_socket(peer_id, epoch).select_related("room").first()
    version = services.leave(peer_id, reason=reason, epoch=epoch)
    if found is not None and version:
        found.reason, found.roster_version = reason, version
        signals.participants_lost.send_robust(Participant, left=[found], away=[])


_RESUME_FIELDS = [
    "resume_hash", "previous_resume_hash", "resume_rotated_at", "channel_name", "worker", "epoch",
    "away_until", "held", "has_gap",
]  # fmt: skip


def _find(room: Room, user: AbstractBaseUser, used: str) -> Participant:
    # Locked, because a worker may store the held frames at this moment: ``store_held``.
    mine = _memberships(user, used).filter(room=room).select_for_update(no_key=True)
    participant = mine.first()
    if participant is None:
        raise admission.hide_unless_admitted(ResumeInvalid(), room, user)
    if not room.is_active:
        raise RoomClosed
    if participant.reason == Participant.Reason.REMOVED:
        raise Removed
    if participant.reason == Participant.Reason.EVICTED:
        raise Evicted
    is_late = participant.away_until is not None and participant.away_until <= room.now
    if not participant.is_live or is_late:
        raise ResumeExpired
    if participant.resume_hash != used:
        assert participant.resume_rotated_at is not None
        if participant.resume_rotated_at < room.now - timedelta(seconds=REPLY_SECONDS):
            raise ResumeInvalid
    return participant


def _memberships(user: AbstractBaseUser, used: str) -> QuerySet[Participant]:
    known = Q(resume_hash=used) | Q(previous_resume_hash=used)
    return Participant.objects.filter(known, user_id=user.pk)


def _rotate(room: Room, participant: Participant, used: str, new: str) -> None:
    if participant.resume_hash == used:  # otherwise the previous token keeps its expiry time
        participant.resume_rotated_at = room.now
        participant.previous_resume_hash = used
    participant.resume_hash = new
