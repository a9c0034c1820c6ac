"""The reconciliation of the model: the real ``Reconciler``, run between two states.

Its coroutine runs up to its first query in the state before, and from there in the state after: what
the worker's sockets have done during the query is what the code has to expect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import SimpleNamespace, coroutine
from typing import Any, NamedTuple
from unittest.mock import patch

from rooms import reconciling
from rooms.models import Room
from rooms.reconciling import Roster
from rooms.reconciling import Row as ReadRow
from signalling.worker import reconciler as code
from signalling.worker import releases
from signalling.worker.reconciler import Reconciler

from .sockets import (
    ANY_VERSION,
    CACHED,
    CODE,
    LATER,
    Open,
    Outcome,
    Sockets,
    index,
    name,
    participant,
    room,
)
from .state import NOWHERE, Row, Snapshot, Socket

Question = tuple[Callable[..., Any], Any, Any]
"""A call to the database: the function, its arguments, and those with names."""


class Release(NamedTuple):
    """A row that the worker releases."""

    peer: int
    epoch: int
    may_resume: bool


class Repairs(NamedTuple):
    """What a run has done."""

    outcomes: tuple[tuple[int, Outcome], ...] = ()
    """By channel."""
    ended: tuple[int, ...] = ()
    """The channels of detached peers that have ended."""
    releases: tuple[Release, ...] = ()
    due: int = 0
    suspects: tuple[tuple[str, int], ...] = ()


class Replays:
    """Runs the reconciler. ``resumable``: by peer."""

    def __init__(self, sockets: Sockets, resumable: tuple[bool, ...]) -> None:
        self._sockets = sockets
        self._resumable = resumable
        self.refresh = lru_cache(CACHED)(self._refresh)
        self.reconcile = lru_cache(CACHED)(self._reconcile)

    def _refresh(
        self, due: int, snapshot: Snapshot, before: tuple[Socket, ...], now: tuple[Socket, ...]
    ) -> Repairs:
        """Read the roster, as after a gap."""
        run = _Run(self._sockets, self._resumable, before, snapshot, snapshot, NOWHERE)
        version = math.inf if due == ANY_VERSION else due
        run.go(run.reconciler._read({CODE: version}), now)
        return run.repairs()

    def _reconcile(
        self,
        worker: int,
        suspects: tuple[tuple[str, int], ...],
        before: tuple[Socket, ...],
        read: Snapshot,
        now: tuple[Socket, ...],
        current: Snapshot,
    ) -> Repairs:
        """Compare everything, as at a heartbeat."""
        run = _Run(self._sockets, self._resumable, before, read, current, worker)
        run.reconciler._suspects = set(suspects)
        run.go(run.reconciler.reconcile(str(worker)), now)
        return run.repairs()


class _Run:
    def __init__(
        self,
        sockets: Sockets,
        resumable: tuple[bool, ...],
        before: tuple[Socket, ...],
        read: Snapshot,
        current: Snapshot,
        worker: int,
    ) -> None:
        self._real, self._resumable, self._worker = sockets, resumable, worker
        self._read, self._current = read, current
        self._open: dict[int, Open] = {}
        self._detached: dict[int, Any] = {}
        self._ended: list[int] = []
        self._releases: list[Release] = []
        self._due = 0
        self._become(before)
        self.reconciler: Reconciler = sockets.classes.reconciler(
            lambda: [*self._open.values()], lambda: [*self._detached.values()]
        )
        self.reconciler.request = self._request  # type: ignore[method-assign]

    def go(self, work: Coroutine[Question, Any, Any], now: tuple[Socket, ...]) -> None:
        """Run the coroutine; after its first query the sockets are those of ``now``."""
        with _database_calls(), suppress(StopIteration):
            try:
                answer = self._answer(work.send(None), self._read)
            finally:  # also if it has nothing to ask
                self._become(now)
            while True:
                answer = self._answer(work.send(answer), self._current)

    def repairs(self) -> Repairs:
        """Return what the run has done."""
        outcomes = {
            channel: self._real.outcome(socket)
            for channel, socket in self._open.items()
            if socket.membership is not None
        }
        due = max([self._due, *(outcome.due for outcome in outcomes.values())])
        suspects = tuple(sorted(self.reconciler._suspects))
        ended, releases = tuple(self._ended), tuple(self._releases)
        return Repairs(tuple(outcomes.items()), ended, releases, due, suspects)

    def _request(self, room_code: str, version: float = math.inf) -> None:
        self._due = max(self._due, ANY_VERSION if version == math.inf else int(version))

    # --- The sockets --------------------------------------------------------------------------

    def _become(self, sockets: tuple[Socket, ...]) -> None:
        """Let the sockets of the worker be these, without replacing objects that remain."""
        there = {socket.channel: socket for socket in sockets}
        for channel in [*self._open]:
            socket = there.get(channel)
            if socket is None or socket.phase == "detached":
                self._open.pop(channel).room.membership = None
        for channel in [*self._detached]:
            if channel not in there:
                del self._detached[channel]
        for socket in sockets:
            if socket.phase == "detached":
                self._detached.setdefault(socket.channel, self._detach(socket))
            else:
                self._update(socket)

    def _update(self, socket: Socket) -> None:
        opened = self._open.get(socket.channel)
        if opened is None:
            opened = self._open[socket.channel] = Open(self._real.classes, socket.channel, None)
        if socket.phase == "joining":  # its database call is running
            opened.room.membership = self._real.classes.membership(CODE)
            return
        current = self._real.thaw(socket.member)
        if opened.membership is None:
            opened.membership = opened.room.membership = current
        else:
            opened.membership.__dict__.update(current.__dict__)

    def _detach(self, socket: Socket) -> Any:
        return SimpleNamespace(
            peer_id=name(socket.peer),
            epoch=socket.epoch,
            channel_name=str(socket.channel),
            move_to=lambda channel: self._ended.append(socket.channel),
            end=lambda *, has_left=False: self._ended.append(socket.channel),
        )

    # --- The database -------------------------------------------------------------------------

    def _answer(self, question: Question, snapshot: Snapshot) -> Any:
        function, arguments, named = question
        rows = enumerate(snapshot.rows)
        if function is reconciling.read_rows_of_worker:
            mine = [(peer, row) for peer, row in rows if row.is_live and row.worker == self._worker]
            return [self._row(peer, row) for peer, row in mine]
        if function is reconciling.read_rows:
            (wanted,) = arguments
            known = [(peer, row) for peer, row in rows if row.state != "new"]
            return [self._row(peer, row) for peer, row in known if name(peer) in wanted]
        if function is reconciling.read_rooms:
            return [room(snapshot)]
        if function is reconciling.read_rosters:
            return _rosters(arguments[0], snapshot)
        assert function is reconciling.release, function
        release = Release(index(arguments[0]), named["epoch"], named["may_resume"])
        self._releases.append(release)
        return None

    def _row(self, peer: int, row: Row) -> ReadRow:
        return ReadRow(
            peer_id=name(peer),
            epoch=row.epoch,
            channel_name=str(row.channel),
            worker_id=None if row.worker == NOWHERE else str(row.worker),
            left_at=None if row.is_live else LATER,
            away_until=LATER if row.state == "away" else None,
            resume_hash="token" if self._resumable[peer] else "",
            reason="",
        )


def _rosters(codes: Collection[str], snapshot: Snapshot) -> dict[str, Roster]:
    assert [*codes] == [CODE]
    live = [participant(peer, row) for peer, row in enumerate(snapshot.rows) if row.is_live]
    found: Room = room(snapshot)
    return {CODE: Roster(found, live)} if live else {}


@coroutine
def _ask(question: Question) -> Generator[Question, Any, Any]:
    return (yield question)


@contextmanager
def _database_calls() -> Iterator[None]:
    """Let ``_Run.go`` answer the calls of the reconciler."""
    with (
        patch.object(code, "run_in_background_thread", _query),
        patch.object(releases, "run_in_background_thread", _query),
    ):
        yield


def _query(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that lets ``_Run.go`` answer; instead of ``run_in_background_thread``."""

    async def ask(*arguments: Any, **named: Any) -> Any:
        return await _ask((function, arguments, named))

    return ask
