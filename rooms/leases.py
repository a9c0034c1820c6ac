"""Serving processes and their leases; what becomes of the peers of one that died.

A worker is dead when its lease has run out *and* it was seen not to renew it for a while in which the
database could be reached: after an outage of the database all leases have run out, and nobody is dead.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone

from . import signals
from .conf import conf
from .models import Participant, Worker


@dataclass(frozen=True)
class Lease:
    """One worker as it was found; ``is_expired`` by the clock of the database."""

    worker_id: str
    expires_at: datetime
    is_expired: bool


@dataclass
class LeaseMonitor:
    """Tells the dead from those who could not reach the database: who looks twice, sees."""

    confirm_seconds: float
    """Seconds for which a lease that has run out must have stayed the same."""
    grace_seconds: float = 0.0
    """Seconds after an outage of the database in which nobody is dead: pools of connections that wait
    longer and longer between two attempts bring one process back later than another."""
    _is_after_outage: bool = False
    _grace_until: float = 0.0
    _seen: dict[str, tuple[datetime, float]] = field(default_factory=dict)

    def find_dead(self, leases: list[Lease]) -> list[Lease]:
        """Return the leases of the dead among those that were just read."""
        now = monotonic()
        seen = {}
        for lease in leases:
            before = self._seen.get(lease.worker_id)
            is_same = before is not None and before[0] == lease.expires_at
            seen[lease.worker_id] = before if before and is_same else (lease.expires_at, now)
        self._seen = seen
        if self._is_after_outage:
            self._is_after_outage = False
            self._grace_until = now + self.grace_seconds
        if now < self._grace_until:
            return []
        return [
            lease
            for lease in leases
            if lease.is_expired and now - seen[lease.worker_id][1] >= self.confirm_seconds
        ]

    def reset(self) -> None:
        """Begin anew: the database was away, or is still."""
        self._seen = {}
        self._is_after_outage = True


def register_worker() -> str:
    """Begin to serve: return the id of a new worker with a lease."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    return Worker.objects.create(name=name, expires_at=_lease_end()).pk


def renew(worker_id: str) -> bool:
    """Renew a lease; false where the worker was taken for dead meanwhile."""
    return bool(Worker.objects.filter(pk=worker_id).update(expires_at=_lease_end()))


def read_all() -> list[Lease]:
    """Return the leases of all workers."""
    found = Worker.objects.annotate(now=Now()).values_list("pk", "expires_at", "now")
    return [Lease(pk, expires_at, expires_at < now) for pk, expires_at, now in found]


def reap(lease: Lease) -> int:
    """End a dead worker: its resumable peers are away, the others have left. Return how many.

    Of several that reap the same worker, one does it and announces it.
    """
    dead = Worker.objects.filter(pk=lease.worker_id, expires_at=lease.expires_at)
    last_seen = lease.expires_at - timedelta(seconds=conf().lease_seconds)
    return _end(dead, away_until=last_seen + timedelta(seconds=conf().resume_window))


def retire(worker_id: str) -> int:
    """End a worker that stops, and what it could not end itself. Return the number of those peers."""
    away_until = timezone.now() + timedelta(seconds=conf().resume_window)
    return _end(Worker.objects.filter(pk=worker_id), away_until=away_until)


def _end(workers: QuerySet[Worker], *, away_until: datetime) -> int:
    with transaction.atomic():
        # Not its key: a resume that writes it into a peer's row, and is waited for below, asks for that.
        worker = workers.select_for_update(no_key=True).first()
        if worker is None:
            return 0
        mine = Participant.objects.live().filter(worker=worker)
        # Locked: one that is just being resumed elsewhere is not announced as away.
        peers = list(mine.select_related("room").select_for_update(of=("self",)))
        away, left = _part(mine, peers, away_until)
        worker.delete()
        transaction.on_commit(
            partial(signals.participants_lost.send_robust, Participant, left=left, away=away)
        )
        for participant in left:
            transaction.on_commit(
                partial(signals.participant_left.send_robust, Participant, participant=participant)
            )
    return len(peers)


def _part(
    mine: QuerySet[Participant], peers: list[Participant], away_until: datetime
) -> tuple[list[Participant], list[Participant]]:
    """Write what becomes of the peers; return those who go away now, and those who leave."""
    resumable = mine.exclude(resume_hash="")
    # What was held for them died with the worker, unless it was left behind in order.
    resumable.filter(held__isnull=True).update(has_gap=True)
    resumable.filter(away_until=None).update(away_until=away_until)
    lost = {"left_at": timezone.now(), "seat": None, "reason": Participant.Reason.SERVER_LOST}
    mine.filter(resume_hash="").update(**lost)
    away = [peer for peer in peers if peer.resume_hash and peer.away_until is None]
    left = [peer for peer in peers if not peer.resume_hash]
    for peer in away:
        peer.away_until = away_until
    for peer in left:
        peer.left_at, peer.seat, peer.reason = lost.values()  # type: ignore[assignment]
    return away, left


def _lease_end() -> CombinedExpression:
    return Now() + timedelta(seconds=conf().lease_seconds)
