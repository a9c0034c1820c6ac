"""Errors of design, each of which the model has to find: the proof that it can fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rooms.models import Participant
from rooms.reconciling import Roster, Row
from signalling.peers.membership import Membership
from signalling.peers.messages import ModeChanged, RosterChange
from signalling.peers.room_events import RoomEvents
from signalling.peers.versions import SeenVersions
from signalling.sfu.mode import MESH, Mode
from signalling.worker.reconciler import Mark, Reconciler
from signalling.worker.releases import Release

from .rules import Design, Scope
from .scopes import ARRIVAL, CRASH, FENCE, FORMER, JOINS, MODES, MOVE, RELAYS, RETRY
from .sockets import Classes


class AppliesLateJoins(Membership):
    """A late announcement is applied, although a read has covered it."""

    def apply(self, change: RosterChange) -> bool:
        is_join = change["change"] == "joined"
        return self._apply(change, change["version"]) if is_join else super().apply(change)


class ForgetsLeaves(Membership):
    """A leave is not final."""

    def _depart(self, peer_id: str, version: int) -> None:
        super()._depart(peer_id, version)
        self.departed.clear()


class BelievesOldReads(Membership):
    """A read removes peers that have joined since."""

    def missed(self, participants: list[Participant], version: int = 0) -> Iterator[RosterChange]:
        self.changes.clear()
        return super().missed(participants, version)


class ObeysFormerSockets(Membership):
    """A leave that is not written ends a peer, even if its sender is a former socket."""

    def _apply(self, change: RosterChange, version: int) -> bool:
        if change["change"] == "left":
            change = change | RosterChange(number=1 << 30)  # type: ignore[typeddict-item]
        return super()._apply(change, version)


class ReturnsNoPeer(Membership):
    """A leave that is not written is final, even if the peer has another socket."""

    def _may_return(self, peer_id: str, epoch: int) -> bool:
        return False


class NotesEarlyChanges(Membership):
    """A change that builds on a missing one counts as handled."""

    def _is_early(self, change: RosterChange, version: int) -> bool:
        return False


class HasNoFence(Membership):
    """Relays of former sockets are delivered."""

    def check_sender(self, sender: str, epoch: int | None) -> None:
        pass


class FencesByRosterOnly(Membership):
    """A relay that is newer than the roster is forgotten."""

    def check_sender(self, sender: str, epoch: int | None) -> None:
        self.relay_epochs = dict(self.epochs)
        super().check_sender(sender, epoch)


class OverlooksReturns(Membership):
    """A read does not show that a peer has another socket."""

    def missed(self, participants: list[Participant], version: int = 0) -> Iterator[RosterChange]:
        for change in super().missed(participants, version):
            if change["change"] != "back":
                yield change


class SkipsGaps(SeenVersions):
    """A roster adopts the version of an announcement, although others are missing."""

    def add(self, version: int) -> None:
        self.complete = self.latest = max(self.complete, version)


class TrustsEveryRead(RoomEvents):
    """A read is applied, although it may be older than what has arrived since it began."""

    def refresh(self, roster: Roster | None, mark: Mark) -> bool:
        mine = self.membership
        if mine is None or roster is None:
            return super().refresh(roster, mark)
        mine.versions.complete = min(mine.versions.complete, roster.room.roster_version)
        return super().refresh(roster, Mark.of(mine))


class AdoptsOldModes(RoomEvents):
    """A mode is adopted, although a later one is known."""

    def _mode_changed(self, membership: Membership, message: ModeChanged) -> None:
        membership.mode = MESH._replace(version=-1)
        super()._mode_changed(membership, message)


class ComparesNoModes(RoomEvents):
    """A mode whose announcement was lost stays unknown."""

    def agrees_with(self, live_count: int, mode: Mode) -> bool:
        return super().agrees_with(live_count, MESH)


class BelievesAfterTheRead(Reconciler):
    """Sockets that were seated during the read are compared with it."""

    async def check_sockets(self, worker_id: str | None) -> dict[str, Row]:
        rows = await super().check_sockets(worker_id)
        for member, membership in self._seated():
            if membership.peer_id not in rows:
                member.lose(None)
        return rows


class ReleasesNothing(Reconciler):
    """A row without a socket stays."""

    def _find_orphans(self, rows: list[Row]) -> list[Release]:
        return []


class ForgetsJoinsInFlight(Reconciler):
    """A row whose join has not been answered yet has no socket."""

    def _find_orphans(self, rows: list[Row]) -> list[Release]:
        seated = {member.channel_name for member, _ in self._seated()}
        kept, self._sockets = self._sockets, lambda: ()
        try:
            return super()._find_orphans([row for row in rows if row.channel_name not in seated])
        finally:
            self._sockets = kept


class ComparesNoVersions(Reconciler):
    """A roster with an old version stays, unless an announcement shows the gap."""

    async def _check_rosters(self) -> None:
        pass


@dataclass(frozen=True)
class Error:
    """An error of design, the scope in which it is found, and what it violates."""

    name: str
    scope: Scope
    violation: str
    """A part of the text of the counterexample."""
    classes: Classes = field(default_factory=Classes)
    design: Design = field(default_factory=Design)


def _membership(kind: type[Membership], scope: Scope, violation: str) -> Error:
    return Error(kind.__name__, scope, violation, Classes(membership=kind))


def _reconciler(kind: type[Reconciler], scope: Scope, violation: str) -> Error:
    return Error(kind.__name__, scope, violation, Classes(reconciler=kind))


STALE = "a relay of epoch 0 is delivered after one of 1"

ERRORS = [
    _membership(AppliesLateJoins, JOINS, "gets joined"),
    _membership(ForgetsLeaves, MOVE, "gets joined"),
    _membership(BelievesOldReads, JOINS, "gets joined"),
    _membership(ObeysFormerSockets, FORMER, "the roster"),
    _membership(ReturnsNoPeer, FORMER, "the roster"),
    _membership(NotesEarlyChanges, CRASH, "believes"),
    _membership(HasNoFence, RELAYS, STALE),
    Error("HasNoFence after a false death", FENCE, STALE, Classes(membership=HasNoFence)),
    _membership(FencesByRosterOnly, RELAYS, STALE),
    _membership(OverlooksReturns, MOVE, "the roster"),
    Error("SkipsGaps", CRASH, "the roster", Classes(versions=SkipsGaps)),
    Error("TrustsEveryRead", MOVE, "gets joined", Classes(room=TrustsEveryRead)),
    Error("AdoptsOldModes", MODES, "gets mode", Classes(room=AdoptsOldModes)),
    Error("ComparesNoModes", MODES, "knows mode", Classes(room=ComparesNoModes)),
    _reconciler(BelievesAfterTheRead, ARRIVAL, "is closed"),
    _reconciler(ReleasesNothing, MOVE, "has 0 sockets"),
    _reconciler(ForgetsJoinsInFlight, ARRIVAL, "is ended"),
    _reconciler(ComparesNoVersions, JOINS, "the roster"),
    Error(
        "one version per transaction",
        CRASH,
        "believes",
        design=Design(one_version_per_transaction=True),
    ),
    Error("writes without a condition", RETRY, "is ended", design=Design(conditional_writes=False)),
]
