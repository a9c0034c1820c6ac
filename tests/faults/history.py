"""A checker for histories: what must hold whatever failed.

``Checker`` reads records as they are logged and collects violations; ``check`` reads a whole history.
``RULES`` names the invariants. Most hold at each moment. The others hold when the servers and stores
are up and all is quiet (``Settled``), because only then the sockets must agree with the database.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .records import (
    Announced,
    Answered,
    AnyRecord,
    Closed,
    Ended,
    Joined,
    Received,
    Refused,
    Reported,
    Room,
    Row,
    Sent,
    Settled,
    Step,
)
from .relays import Ledger

RULES = {
    "roster": "in quiet, the roster of each socket is equal to the live rows of its room",
    "ghost": "in quiet, each live row is that of a connected client, or of one that may resume",
    "fenced": "in quiet, a peer has at most one open socket",
    "seats": "a room never has more live rows than its limit",
    "announced": "a socket gets joined once for each peer, and left at most once, afterwards",
    "stale": "no relay of an older socket of a peer arrives after one of a newer socket",
    "order": "relays of a peer arrive in the order in which they were sent",
    "twice": "no relay arrives twice, or after it was refused",
    "stranger": "relays reach the addressed peer only, and come from peers in its roster only",
    "lost": "in quiet, each acknowledged relay has arrived or was reported as lost",
    "refused": "no client is refused or closed for good without a reason",
    "stuck": "in quiet, all clients can join again",
    "server": "no server logs an internal error, or fails to exit",
}
RESUME_WINDOW = 30.0
TOLERANCE = 3.0
"""Seconds by which the end of a resume window may differ."""
FAULTY_REFUSALS = {"internal", "token_invalid", "token_expired", "token_revoked", "user_inactive"}
FAULTY_REFUSALS |= {"authentication_required", "removed", "evicted", "forbidden", "bad_request"}
FAULTY_CLOSES = {1002, 1007, 1009, 1011, 4400, 4401, 4403, 4429, 4500}


class Violation(NamedTuple):
    at: float
    step: int
    """The number of the step in which it was found, from 1 on."""
    rule: str
    text: str


@dataclass
class View:
    """The room as one socket sees it."""

    peer: str
    socket: int
    room: str
    roster: dict[str, bool]
    """Whether each of the other peers is away."""
    left: set[str] = field(default_factory=set)
    closed_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.closed_at is None


class Checker:
    """Checks a history, one record after the other. ``violations`` has what was found."""

    def __init__(self, resume_window: float = RESUME_WINDOW) -> None:
        self.violations: list[Violation] = []
        self._window = resume_window
        self._step = 0
        self._at = 0.0
        self._views: dict[tuple[str, int], View] = {}
        """The view of each open socket."""
        self._current: dict[str, View] = {}
        """The view of the newest socket of each peer."""
        self._ended: set[str] = set()
        self._killed_at = -math.inf
        self._known: set[tuple[str, str]] = set()
        """The differences that have been reported."""
        self._ledger = Ledger(self.report)

    def report(self, rule: str, text: str) -> None:
        """Record a violation of one of ``RULES``."""
        assert rule in RULES, rule
        self.violations.append(Violation(self._at, self._step, rule, text))

    def add(self, record: AnyRecord) -> None:
        """Read the next record."""
        self._at = record.at
        match record:
            case Step():
                self._step += 1
                if any(fault.startswith("kill") for fault in record.faults):
                    self._killed_at = record.at
            case Joined():
                self._joined(record)
            case Announced():
                self._announced(record)
            case Sent():
                current = self._current.get(record.peer)
                is_late = current is not None and record.socket < current.socket
                self._ledger.sent(record, is_late=is_late)
            case Answered():
                self._ledger.answered(record)
            case Received():
                self._received(record)
            case Reported():
                self._ledger.reported(record.peer, record.target)
            case Closed():
                self._closed(record)
            case Ended():
                self._ended.add(record.peer)
                self._ledger.end(record.peer)
            case Refused():
                self._refused(record)
            case Settled():
                self._settled(record)

    # --- What a socket sees -------------------------------------------------------------------

    def _joined(self, record: Joined) -> None:
        if record.peer in record.others:
            self.report("roster", f"{record.peer} is in its own list of peers")
        if record.peer in self._ended:
            self.report("announced", f"{record.peer} has left, and joined again")
        view = View(record.peer, record.socket, record.room, dict(record.others))
        self._views[record.peer, record.socket] = view
        current = self._current.get(record.peer)
        if current is None or current.socket < record.socket:
            self._current[record.peer] = view
        if record.gap:
            self._ledger.gap(record.peer, record.at)

    def _announced(self, record: Announced) -> None:
        view = self._views[record.peer, record.socket]
        subject, is_present = record.subject, record.subject in view.roster
        if record.event == "joined":
            if is_present or subject in view.left or subject == view.peer:
                before = "left" if subject in view.left else "joined"
                self.report("announced", f"{view.peer} got joined of {subject} after {before}")
            view.roster[subject] = False
        elif not is_present:
            self.report("announced", f"{view.peer} got {record.event} of absent {subject}")
        elif record.event == "left":
            del view.roster[subject]
            view.left.add(subject)
        else:
            view.roster[subject] = record.event == "away"

    def _received(self, record: Received) -> None:
        if record.sender not in self._views[record.peer, record.socket].roster:
            self.report("stranger", f"{record.peer} got a relay of absent {record.sender}")
        self._ledger.received(record)

    def _closed(self, record: Closed) -> None:
        view = self._views.pop((record.peer, record.socket), None)
        if view is not None:
            view.closed_at = record.at
        if record.code in FAULTY_CLOSES:
            self.report("refused", f"a socket of {record.peer or 'a client'} got {record.code}")

    def _refused(self, record: Refused) -> None:
        if record.code in FAULTY_REFUSALS:
            self.report("refused", f"{record.peer or 'a client'} got {record.code}")
        elif record.code == "resume_expired" and record.peer in self._current:
            lost_at = self._current[record.peer].closed_at
            idle = 0.0 if lost_at is None else record.at - lost_at
            if record.peer not in self._ended and idle < self._window / 2:
                self.report("refused", f"{record.peer} expired after {idle:.1f} s")

    # --- When all is quiet --------------------------------------------------------------------

    def _settled(self, record: Settled) -> None:
        for rule, text in self.differences(record.rooms):
            self.report(rule, text)
            self._known.add((rule, text))
        for name in record.stuck:
            self.report("stuck", name)
        live = {peer for room in record.rooms.values() for peer in room.rows}
        self._ledger.close_account(self._connected(), live)

    def differences(self, rooms: dict[str, Room]) -> list[tuple[str, str]]:
        """Return what is wrong if all is quiet now: rules and texts. ``rooms``: the database.

        What lasts is returned until it is reported, and no longer.
        """
        return [each for each in self._differences(rooms) if each not in self._known]

    def _differences(self, rooms: dict[str, Room]) -> list[tuple[str, str]]:
        found = [*self._wrong_sockets(rooms)]
        for code, room in rooms.items():
            if len(room.rows) > room.limit:
                found.append(("seats", f"{code} has {len(room.rows)} peers of {room.limit}"))
            for peer, row in room.rows.items():
                if reason := self._ghost(code, peer, row):
                    found.append(("ghost", f"{peer} in {code}: {reason}"))
        for (sender, target), numbers in self._ledger.losses(self._connected()):
            some = sorted(numbers)[:5]
            found.append(("lost", f"{len(numbers)} relays of {sender} to {target}: {some}"))
        return found

    def _connected(self) -> set[str]:
        return {peer for peer, view in self._current.items() if self._is_in_room(view)}

    def _is_in_room(self, view: View) -> bool:
        return view.is_open and view.peer not in self._ended

    def _wrong_sockets(self, rooms: dict[str, Room]) -> Iterator[tuple[str, str]]:
        for view in self._views.values():
            if view.peer in self._ended:
                continue
            if view is not self._current[view.peer]:
                yield "fenced", f"socket {view.socket} of {view.peer} is still open"
                continue
            rows = rooms[view.room].rows
            own = rows.get(view.peer)
            if own is None or own.is_away:
                yield "roster", f"{view.peer} is connected, and its row is {own}"
            expected = {peer: row.is_away for peer, row in rows.items() if peer != view.peer}
            if view.roster != expected:
                yield "roster", f"{view.peer} has {_difference(view.roster, expected)}"

    def _ghost(self, code: str, peer: str, row: Row) -> str:
        """Return why nobody can be the peer of a live row, "" if somebody can."""
        view = self._current.get(peer)
        if peer in self._ended and not (row.is_away and self._may_have_lost_leaves()):
            return "it has left"
        if view is not None and view.room != code:
            return f"it is in {view.room}"
        if row.remaining is not None:
            is_in_window = -TOLERANCE <= row.remaining <= self._window + TOLERANCE
            return "" if is_in_window else f"it is away for {row.remaining:.1f} s more"
        return "" if view is not None and view.is_open else "it has no socket"

    def _may_have_lost_leaves(self) -> bool:
        """Return whether a worker that was killed may have taken a close with it."""
        return self._at < self._killed_at + 2 * self._window


def _difference(roster: dict[str, bool], expected: dict[str, bool]) -> str:
    parts = {
        "ghosts": roster.keys() - expected.keys(),
        "missing": expected.keys() - roster.keys(),
        "wrongly away or back": {
            peer for peer in roster.keys() & expected.keys() if roster[peer] != expected[peer]
        },
    }
    return ", ".join(f"{name}: {' '.join(sorted(peers))}" for name, peers in parts.items() if peers)


def check(history: Iterable[AnyRecord], resume_window: float = RESUME_WINDOW) -> list[Violation]:
    """Return all violations of a history."""
    checker = Checker(resume_window)
    for record in history:
        checker.add(record)
    return checker.violations
