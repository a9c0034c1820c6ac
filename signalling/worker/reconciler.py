"""Compares the sockets of this process with the database, and repairs both.

Sockets learn of the changes in their room from announcements, but any of them can be lost, and so
can the answer to a COMMIT. So at each heartbeat a worker reads its rows and the versions of its
rooms, in a number of queries that does not depend on the number of sockets (but for chunks):

- A socket whose peer has left, or has another socket now, is closed.
- A row of this worker without a socket and without a detached peer ends, or becomes away.
- A roster in another version than the database has, or of another size, is read.

A roster is also read, once for all sockets of the room, when an announcement shows that one is missing.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from rooms import reconciling
from rooms.reconciling import Roster, Row
from signalling.database import DATABASE_UNAVAILABLE, run_in_background_thread
from signalling.sfu.mode import Mode
from signalling.transport.tasks import spawn

from .releases import Release, Releases

logger = logging.getLogger("signalling")

PAUSE_SECONDS = (0.2, 0.6)
"""How long a read waits for announcements that are on their way: a random time in this range."""
RETRY_SECONDS = 1.0
"""How long a read waits after the database was unavailable."""
CHUNK = 500
"""Peers or rooms per query."""
ROSTERS = 20
"""Rosters per query, because each has up to TOTAL_LIMIT rows."""

T = TypeVar("T")


class Versions(Protocol):
    @property
    def complete(self) -> int:
        """All changes of the roster up to this version have been seen."""


class Membership(Protocol):
    """What a socket knows about its place in a room."""

    room_code: str
    peer_id: str
    epoch: int
    is_seated: bool
    unversioned: int

    @property
    def versions(self) -> Versions: ...


class Mark(NamedTuple):
    """What a socket had seen of its room when a read began."""

    membership: Membership
    complete: int
    unversioned: int

    @classmethod
    def of(cls, membership: Membership) -> Mark:
        return cls(membership, membership.versions.complete, membership.unversioned)


class Member(Protocol):
    """The room's side of a socket."""

    @property
    def membership(self) -> Membership | None: ...

    @property
    def channel_name(self) -> str: ...

    @property
    def is_busy(self) -> bool:
        """Whether a database call of it is running."""

    def agrees_with(self, live_count: int, mode: Mode) -> bool:
        """Return whether the roster has as many peers, and the mode is not out of date."""

    def refresh(self, roster: Roster | None, mark: Mark) -> bool:
        """Apply a roster; ``None``: the room is empty. Return false if it must be read again."""

    def lose(self, row: Row | None) -> None:
        """Close the socket: this is the row of its peer, which has left or moved."""


class Socket(Protocol):
    @property
    def room(self) -> Member: ...


class Detached(Protocol):
    """A peer without a socket."""

    @property
    def peer_id(self) -> str: ...

    @property
    def epoch(self) -> int: ...

    @property
    def channel_name(self) -> str: ...

    def move_to(self, channel: str) -> None: ...

    def end(self, *, has_left: bool = False) -> None: ...


class Reconciler:
    """The reconciliation of one worker."""

    def __init__(
        self,
        sockets: Callable[[], Iterable[Socket]],
        detached: Callable[[], Iterable[Detached]],
    ) -> None:
        self._sockets = sockets
        self._detached = detached
        self._due: dict[str, float] = {}
        self._suspects: set[tuple[str, int]] = set()
        self._releases = Releases()
        self._is_reading = False
        self._tasks: set[asyncio.Task[None]] = set()

    # --- Rosters ------------------------------------------------------------------------------

    def request(self, room_code: str, version: float = math.inf) -> None:
        """Read the roster of a room in a moment, unless its sockets have seen ``version`` then."""
        self._due[room_code] = max(version, self._due.get(room_code, 0))
        if not self._is_reading:
            self._is_reading = True
            spawn(self._read_due(), self._tasks)

    async def _read_due(self) -> None:
        try:
            while self._due:
                await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311
                due, self._due = self._due, {}
                try:
                    await self._read(due)
                except DATABASE_UNAVAILABLE as error:
                    logger.warning("Database unavailable, rosters not refreshed yet: %s", error)
                    for room_code, version in due.items():
                        self.request(room_code, version)
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:  # the next heartbeat finds what is still wrong
                    logger.exception("Rosters could not be refreshed")
        finally:
            self._is_reading = False

    async def _read(self, due: dict[str, float]) -> None:
        members: defaultdict[str, list[Member]] = defaultdict(list)
        for member, membership in self._seated():
            if membership.versions.complete < due.get(membership.room_code, 0):
                members[membership.room_code].append(member)
        for codes in _chunks([*members], ROSTERS):
            marks = [
                (member, Mark.of(member.membership))
                for code in codes
                for member in members[code]
                if member.membership is not None
            ]
            rosters = await run_in_background_thread(reconciling.read_rosters)(codes)
            for member, mark in marks:
                room_code = mark.membership.room_code
                if not member.refresh(rosters.get(room_code), mark):
                    self.request(room_code)

    # --- The heartbeat ------------------------------------------------------------------------

    async def reconcile(self, worker_id: str | None) -> None:
        """Compare everything once. Raises ``DATABASE_UNAVAILABLE``."""
        rows = await self.check_sockets(worker_id)
        mine = [row for row in rows.values() if row.worker_id == worker_id]
        await self._releases.run([*self._check_detached(rows), *self._find_orphans(mine)])
        await self._check_rosters()

    async def check_sockets(self, worker_id: str | None) -> dict[str, Row]:
        """Close the sockets that have lost their peers. Return the rows, by peer id.

        These are the rows of this worker, and those of its sockets and detached peers.
        Raises ``DATABASE_UNAVAILABLE``.
        """
        seated = self._seated()
        peer_ids = {membership.peer_id for _, membership in seated}
        peer_ids |= {peer.peer_id for peer in self._detached()}
        found: list[Row] = []
        if worker_id is not None:
            found = await run_in_background_thread(reconciling.read_rows_of_worker)(worker_id)
        rows = {row.peer_id: row for row in found}
        for missing in _chunks([*(peer_ids - rows.keys())], CHUNK):
            elsewhere = await run_in_background_thread(reconciling.read_rows)(missing)
            rows |= {row.peer_id: row for row in elsewhere}
        for member, membership in seated:
            row = rows.get(membership.peer_id)
            is_right = row is not None and row.is_connected and row.epoch == membership.epoch
            if is_right or member.membership is not membership:
                continue
            logger.warning("Closing a socket that has lost its peer %s", membership.peer_id)
            member.lose(row)
        return rows

    def _check_detached(self, rows: dict[str, Row]) -> list[Release]:
        """End detached peers that have left or moved. Return those that count as connected.

        A takeover, or the write that a peer is away, may be on its way: only what is still wrong at
        the next heartbeat is repaired.
        """
        found = []
        suspects, self._suspects = self._suspects, set()
        for peer in tuple(self._detached()):
            row = rows.get(peer.peer_id)
            key = peer.peer_id, peer.epoch
            if row is None:  # detached after the rows were read
                continue
            if not row.is_live:
                peer.end(has_left=True)
            elif row.epoch == peer.epoch and row.is_away:
                continue
            elif key not in suspects:
                self._suspects.add(key)
            elif row.epoch > peer.epoch:
                peer.move_to(row.channel_name)
            elif row.epoch < peer.epoch:  # the database has lost its latest changes
                peer.end()
            else:
                found.append(Release(row, may_resume=True))
        return found

    def _find_orphans(self, rows: list[Row]) -> list[Release]:
        """Return the live rows without a socket: the answer to a COMMIT was lost."""
        members = {socket.room.channel_name: socket.room for socket in self._sockets()}
        detached = {peer.channel_name for peer in self._detached()}
        return [
            Release(row, row.may_resume)
            for row in rows
            if row.is_connected
            and row.channel_name not in detached
            and _has_given_up(members.get(row.channel_name), row)
        ]

    async def _check_rosters(self) -> None:
        seen: defaultdict[str, list[tuple[Member, Membership, int]]] = defaultdict(list)
        for member, mine in self._seated():
            seen[mine.room_code].append((member, mine, mine.versions.complete))
        for codes in _chunks([*seen], CHUNK):
            for room in await run_in_background_thread(reconciling.read_rooms)(codes):
                mode, version = Mode.of(room), room.roster_version
                for member, mine, before in seen[room.code]:
                    complete = mine.versions.complete
                    if member.membership is not mine:
                        continue
                    if complete < version:
                        self.request(room.code, version)
                    # After a failover, the database may have lost its latest changes.
                    elif version < before or (
                        complete == version and not member.agrees_with(room.live_count, mode)
                    ):
                        self.request(room.code)

    def _seated(self) -> list[tuple[Member, Membership]]:
        found = ((socket.room, socket.room.membership) for socket in self._sockets())
        return [(member, mine) for member, mine in found if mine is not None and mine.is_seated]


def _has_given_up(member: Member | None, row: Row) -> bool:
    """Return whether the socket with the channel of a row neither has its peer nor may get it."""
    if member is None:
        return True
    mine = member.membership
    if mine is None:
        return not member.is_busy
    return mine.is_seated and mine.peer_id != row.peer_id


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
