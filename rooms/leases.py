"""Leases of worker processes, and the memberships that a dead worker leaves behind.

A worker is dead if its lease has expired *and* it was observed not to renew the lease while the
database was reachable. After a database outage every lease has expired, but no worker is dead.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from . import primary, rosters, signals
from .clock import LocalNow, clock, local
from .conf import conf
from .models import Participant, Worker
from .outages import DatabaseUnavailable


@dataclass(frozen=True)
class Lease:
    """The lease of a worker when it was read."""

    worker_id: str
    expires_at: datetime
    is_expired: bool
    """By the clock of the database server."""
    is_dead: bool = False
    """Whether a process has declared the worker dead, and could not end all its memberships."""


@dataclass
class LeaseMonitor:
    """Distinguish dead workers from workers that could not reach the database."""

    confirm_seconds: float
    """How long an expired lease must stay unchanged before its worker is dead."""
    grace_seconds: float = 0.0
    """How long after a database outage no worker is dead: some processes reconnect later than
    others."""
    memory_seconds: float = math.inf
    """How long an observation counts without another one. A process that was suspended for longer
    starts again: if the whole machine was, the other processes could not renew their leases."""
    _is_after_outage: bool = False
    _grace_until: float = 0.0
    _seen: dict[str, tuple[datetime, float]] = field(default_factory=dict)
    _looked_at: float = -math.inf

    def find_dead(self, leases: list[Lease]) -> list[Lease]:
        """Return the leases of dead workers. ``leases``: all leases, just read."""
        now = monotonic()
        seen: dict[str, tuple[datetime, float]] = {}
        if now - self._looked_at > self.memory_seconds:
            self._seen = {}
        self._looked_at = now
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
            if lease.is_dead
            or (lease.is_expired and now - seen[lease.worker_id][1] >= self.confirm_seconds)
        ]

    def reset(self) -> None:
        """Discard all observations, because the database is or was unavailable."""
        self._seen = {}
        self._is_after_outage = True


def register_worker() -> str:
    """Register this process as a worker with a new lease. Return the worker's ID."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    worker = Worker(name=name, started_at=LocalNow(), expires_at=_lease_end())
    with primary.write():
        worker.save(force_insert=True)
    read_all()  # for the time of the database
    return str(worker.pk)


def renew(worker_id: str) -> bool:
    """Renew the lease of a worker. Return false if another process has declared it dead."""
    living = Worker.objects.filter(pk=worker_id, is_dead=False)
    with primary.write():
        return bool(living.update(expires_at=_lease_end()))


@contextmanager
def serving(worker_id: str | None) -> Iterator[None]:
    """Raise ``DatabaseUnavailable`` if a seat cannot be taken because the worker is gone.

    Another process has declared it dead. It notices that itself soon, and gets a new lease.
    """
    try:
        yield
    except IntegrityError as error:
        if worker_id is None or Worker.objects.filter(pk=worker_id).exists():
            raise
        raise DatabaseUnavailable("other processes consider this worker dead") from error


def read_all() -> list[Lease]:
    """Return the leases of all workers."""
    at = monotonic()
    workers = Worker.objects.annotate(now=Now(), is_expired=Q(expires_at__lt=Now()))
    found = list(workers.values_list("now", "pk", "expires_at", "is_expired", "is_dead"))
    for now, *_ in found[:1]:
        clock.observe(now, at=at)
    return [Lease(*lease) for _, *lease in found]


def reap(lease: Lease) -> int:
    """Delete a dead worker: its resumable peers become away, its other peers leave.

    Rows that another transaction has locked are left out: the worker remains, marked as dead, for
    the next call. Return the number of peers that changed, or 0 if the lease was renewed or
    another process was first.
    """
    dead = Worker.objects.filter(pk=lease.worker_id, expires_at=lease.expires_at)
    last_seen = lease.expires_at - timedelta(seconds=conf().lease_seconds)
    return _delete(dead, last_seen=last_seen)


def retire(worker_id: str) -> int:
    """Delete a worker that stops, as ``reap`` does. Return the number of its remaining peers."""
    return _delete(Worker.objects.filter(pk=worker_id))


def _delete(workers: QuerySet[Worker], *, last_seen: datetime | None = None) -> int:
    """Delete a worker. The windows of its resumable peers begin at ``last_seen``, or now."""
    with primary.atomic():
        # Do not lock the key: a concurrent resume may write a reference to it.
        worker: Any = workers.select_for_update(no_key=True).annotate(now=Now()).first()
        if worker is None:
            return 0
        away_until = (last_seen or worker.now) + timedelta(seconds=conf().resume_window)
        live = Participant.objects.live().filter(worker=worker)
        rooms = rosters.lock_unlocked(live)
        # Lock the rows: a peer that is resuming on another worker must not be announced as away.
        locked = live.filter(room__in=rooms).select_for_update(
            of=("self",), no_key=True, skip_locked=True
        )
        peers = list(locked.select_related("room"))
        mine = live.filter(pk__in=[peer.pk for peer in peers])
        away, left = _detach_or_end(mine, peers, away_until, worker.now)
        rosters.advance_for([*away, *left], rooms)
        mine.update(worker=None)
        if live.exists():
            workers.filter(pk=worker.pk).update(is_dead=True)
        else:
            worker.delete()
        signals.send_on_commit(signals.participants_lost, Participant, left=left, away=away)
        for participant in left:
            signals.send_on_commit(signals.participant_left, Participant, participant=participant)
    return len(peers)


def _detach_or_end(
    mine: QuerySet[Participant], peers: list[Participant], away_until: datetime, now: datetime
) -> tuple[list[Participant], list[Participant]]:
    """Update the rows. Return the peers that became away and the peers that left."""
    resumable = mine.exclude(resume_hash="")
    # Frames held for them were lost with the worker, unless it stored them before it stopped.
    resumable.filter(held__isnull=True).update(has_gap=True)
    resumable.filter(away_until=None).update(away_until=away_until)
    lost = {"left_at": local(now), "seat": None, "reason": Participant.Reason.SERVER_LOST}
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
