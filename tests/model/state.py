"""The state of the model: one room in the database, the workers, their sockets, and what is on
its way. Everything is a tuple, so that a state can be hashed and shares its parts with others.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

NOWHERE = -1
"""Instead of a worker: none."""

ChangeKind = Literal["joined", "left", "away", "back", "removed"]
RowState = Literal["new", "live", "away", "left"]
Phase = Literal["joining", "seated", "detached"]
CallKind = Literal["join", "resume", "away", "leave"]
View = Literal["unknown", "in", "away", "left", "doubtful"]
"""What a client believes of a peer. ``doubtful``: it has left, but that is not written yet."""


class Row(NamedTuple):
    """A membership in the database. There is one for each peer of the scope."""

    state: RowState = "new"
    epoch: int = 0
    worker: int = NOWHERE
    channel: int = 0
    number: int = 0
    """The join number."""

    @property
    def is_live(self) -> bool:
        return self.state in ("live", "away")


class Snapshot(NamedTuple):
    """What one transaction has read."""

    version: int
    rows: tuple[Row, ...]
    mode: int = 0


class Change(NamedTuple):
    """The announcement of a change of the roster. With version 0 it is not written yet."""

    kind: ChangeKind
    peer: int
    channel: int
    number: int
    epoch: int
    version: int


class Takeover(NamedTuple):
    """To the previous ``channel`` of a peer: another socket has resumed it."""

    channel: int
    peer: int
    kind: Literal["takeover"] = "takeover"


class Relay(NamedTuple):
    """To a ``channel``: a frame of a peer, sent in an epoch."""

    channel: int
    sender: int
    epoch: int
    kind: Literal["relay"] = "relay"


class Switch(NamedTuple):
    """To the room: its mode. Odd numbers are those of switches that have not been committed."""

    mode: int
    kind: Literal["mode"] = "mode"


Message = Change | Takeover | Relay | Switch


class Seen(NamedTuple):
    """What a client knows of a peer: its state, and the epoch of the newest relay from it."""

    view: View = "unknown"
    newest: int = 0


class Socket(NamedTuple):
    """A socket and its membership, or the ``DetachedPeer`` that has replaced it."""

    channel: int
    worker: int
    peer: int
    phase: Phase = "joining"
    epoch: int = 0
    member: int = 0
    """The number of a real ``Membership``; see ``sockets``."""
    early: tuple[Change | Switch, ...] = ()
    seen: tuple[Seen, ...] = ()
    mode: int = 0
    """The mode that its client knows."""


class Call(NamedTuple):
    """A call to the database. Once committed it has a ``result``, on its way to the worker."""

    kind: CallKind
    peer: int
    epoch: int
    channel: int
    worker: int
    is_awaited: bool = True
    result: Committed | None = None


class Committed(NamedTuple):
    """The result of a call. ``version`` is 0 if it has changed nothing."""

    version: int
    snapshot: Snapshot
    previous: tuple[int, int] = (NOWHERE, 0)
    """The worker and the channel that a resumed peer had before."""


class Read(NamedTuple):
    """What a worker has read, and what its sockets were before."""

    before: tuple[Socket, ...]
    snapshot: Snapshot
    due: int = 0
    """The version that a roster must have; not for a heartbeat."""


class Worker(NamedTuple):
    """A serving process."""

    is_alive: bool = True
    has_lease: bool = True
    read: Read | None = None
    """For its heartbeat."""
    refresh: Read | None = None
    """For the roster of the room."""
    due: int = 0
    """The version of the roster that has to be read next; 0: none."""
    pending: tuple[Call, ...] = ()
    """The remembered writes."""
    suspects: tuple[tuple[str, int], ...] = ()
    """Detached peers that differed from the database at the last heartbeat."""


class Client(NamedTuple):
    """What the client of a peer may still do."""

    opens: int = 0
    """How many sockets it may still open, by a join or a resume."""
    closes: int = 0
    """How many sockets it may still lose."""
    leaves: int = 0
    opened: int = 0


class Budget(NamedTuple):
    """How many of each may still happen."""

    faults: int = 0
    """Faults of the kinds that the scope has."""
    heartbeats: int = 0
    relays: int = 0
    switches: int = 0


class World(NamedTuple):
    """The state of everything."""

    version: int
    rows: tuple[Row, ...]
    workers: tuple[Worker, ...]
    clients: tuple[Client, ...]
    budget: Budget
    sockets: tuple[Socket, ...] = ()
    calls: tuple[Call, ...] = ()
    flight: tuple[tuple[int, Message], ...] = ()
    """The messages on their way, each with the worker that it goes to, in any order."""
    mode: int = 0
    """The mode of the room; see ``Switch``."""

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.version, self.rows, self.mode)
