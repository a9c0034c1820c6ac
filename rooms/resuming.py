"""Memberships that outlive a socket: a peer goes away, and comes back as itself or not at all.

The token that brings it back is used once: each resume gives a new one. The one before stays good for
``REPLY_SECONDS``, because the reply with the new one may be what was lost.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from . import admission, services, signals
from .conf import conf, hook
from .exceptions import Forbidden, Removed, ResumeExpired, ResumeInvalid, RoomClosed
from .models import Participant, Room
from .services import Joined, ResumeState, digest

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

REPLY_SECONDS = 10


def mark_away(peer_id: str, *, epoch: int, until: datetime, gap: bool = False) -> bool:
    """Keep the seat of a peer that has lost its socket; false where that socket no longer counts.

    ``gap``: something that was sent to it is lost already.
    """
    lost = {"has_gap": True} if gap else {}
    mine = Participant.objects.of_socket(peer_id, epoch).filter(away_until=None)
    return bool(mine.update(away_until=until, **lost))


def store_held(peer_id: str, *, epoch: int, held: Any) -> None:
    """Keep what is held for a peer that is away, for whichever worker it comes back to."""
    Participant.objects.of_socket(peer_id, epoch).update(held=held)


def resume(
    *, code: str, user: AbstractBaseUser, token: str, channel_name: str, worker_id: str | None
) -> Joined:
    """Give a membership to another socket of its user, in one transaction.

    Raises ``ResumeInvalid``, ``ResumeExpired`` and ``Removed``, and what keeps a user from any room:
    ``UserInactive``, ``RoomNotFound``, ``RoomClosed`` and ``Forbidden``. A lock keeps nobody out who
    is in.
    """
    with transaction.atomic():
        room = admission.lock_room(code, user)
        participant = _find(room, user, digest(token))
        if not hook(conf().can_join)(user, room):
            raise Forbidden
        # What a worker has left in the row, it does not hand over itself.
        is_reachable = participant.worker_id is not None and participant.held is None
        found = ResumeState(
            previous_channel=participant.channel_name if is_reachable else None,
            held=participant.held,
            # Whoever uses the token before never got the reply, nor what was sent after it.
            gap=participant.has_gap or participant.resume_hash != digest(token),
        )
        new_token = secrets.token_urlsafe(32)
        _rotate(participant, digest(token), digest(new_token))
        participant.channel_name = channel_name
        participant.worker_id = worker_id
        participant.epoch += 1
        participant.away_until = participant.held = None
        participant.has_gap = False
        participant.save(update_fields=_CHANGED)
        others = room.participants.live().exclude(pk=participant.pk)
        return Joined(
            room=room,
            participant=participant,
            others=list(others.order_by("seat")),
            resume_token=new_token,
            resumed=found,
        )


def end_expired() -> None:
    """End the memberships of those who were away for too long. Many may ask: one of them ends it."""
    late = Participant.objects.live().filter(away_until__lt=Now()).select_related("room")
    ended = [
        participant
        for participant in late
        if services.leave(
            participant.peer_id,
            reason=Participant.Reason.DISCONNECTED,
            epoch=participant.epoch,
        )
    ]
    if ended:
        for participant in ended:
            participant.reason = Participant.Reason.DISCONNECTED
        signals.participants_lost.send_robust(Participant, left=ended, away=[])


_CHANGED = [
    "resume_hash", "previous_resume_hash", "resume_rotated_at", "channel_name", "worker", "epoch",
    "away_until", "held", "has_gap",
]  # fmt: skip


def _find(room: Room, user: AbstractBaseUser, used: str) -> Participant:
    known = Q(resume_hash=used) | Q(previous_resume_hash=used)
    participant = room.participants.filter(known, user_id=user.pk).first()
    if participant is None:
        raise ResumeInvalid
    if not room.is_active:
        raise RoomClosed
    if participant.reason == Participant.Reason.REMOVED:
        raise Removed
    now = timezone.now()
    is_late = participant.away_until is not None and participant.away_until <= now
    if not participant.is_live or is_late:
        raise ResumeExpired
    if participant.resume_hash != used:
        assert participant.resume_rotated_at is not None
        if participant.resume_rotated_at < now - timedelta(seconds=REPLY_SECONDS):
            raise ResumeInvalid
    return participant


def _rotate(participant: Participant, used: str, new: str) -> None:
    if participant.resume_hash == used:  # else the time of the token before goes on running out
        participant.resume_rotated_at = timezone.now()
        participant.previous_resume_hash = used
    participant.resume_hash = new
