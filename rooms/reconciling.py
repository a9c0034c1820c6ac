"""What the database knows about the rosters and the sockets of a worker, in a few queries.

A worker compares this with its sockets at each heartbeat; see ``signalling.worker.reconciler``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from time import monotonic

from django.db.models import QuerySet

from . import resuming, signals
from .liveness import Liveness
from .models import Participant, Room


@dataclass(frozen=True)
class Roster:
    """The live participants of a room, and the room with the version of exactly this roster."""

    room: Room
    participants: list[Participant]
    """Ordered by seat."""


@dataclass(frozen=True)
class Row(Liveness):
    """One membership in the database: columns of ``Participant``."""

    peer_id: str
    epoch: int
    channel_name: str
    worker_id: str | None
    left_at: datetime | None
    away_until: datetime | None
    resume_hash: str
    reason: str

    @property
    def may_resume(self) -> bool:
        """Whether a client has a resume token, if no socket has answered to the latest request.

        A peer that has resumed before still has its previous token, valid for a few seconds.
        """
        return bool(self.resume_hash) and self.epoch > 0


def read_rosters(codes: Collection[str]) -> dict[str, Roster]:
    """Return the rosters of the rooms with these codes; of empty rooms none.

    One statement, so the version and the participants fit together at any isolation level.
    """
    live = Participant.objects.live().filter(room__code__in=codes)
    rosters: dict[str, Roster] = {}
    for participant in live.select_related("room").order_by("room", "seat"):
        room = participant.room
        rosters.setdefault(room.code, Roster(room, [])).participants.append(participant)
    return rosters


def read_rooms(codes: Collection[str]) -> list[Room]:
    """Return the rooms with these codes, with ``live_count``."""
    rooms = Room.objects.with_live_counts()
    return list(rooms.filter(code__in=codes))


def read_rows_of_worker(worker_id: str) -> list[Row]:
    """Return the live memberships of a worker."""
    return _rows(Participant.objects.live().filter(worker=worker_id))


def read_rows(peer_ids: Collection[str]) -> list[Row]:
    """Return the memberships of these peers, live or not."""
    return _rows(Participant.objects.filter(peer_id__in=peer_ids))


def release(peer_id: str, *, epoch: int, may_resume: bool) -> None:
    """Release a membership that has no socket, and announce it.

    ``may_resume``: the client may have a resume token. Then the peer becomes away with a gap, else
    it leaves. Nothing happens if a later socket than that of ``epoch`` has resumed it.
    """
    if not may_resume:
        resuming.end_revoked(peer_id, epoch=epoch, reason=Participant.Reason.DISCONNECTED)
        return
    version = resuming.mark_away(peer_id, epoch=epoch, lost_at=monotonic(), gap=True)
    lost = Participant.objects.of_socket(peer_id, epoch).select_related("room").first()
    if version and lost is not None:
        lost.roster_version = version
        signals.participants_lost.send_robust(Participant, left=[], away=[lost])


def _rows(found: QuerySet[Participant]) -> list[Row]:
    columns = [field.name for field in fields(Row)]
    return [Row(*values) for values in found.order_by().values_list(*columns)]
