"""What clients log, in the order in which they saw it, and the state of the database in between.

A *history* is a list of records. All clients run in one process, so its order is the order of time.
Peers are named by their peer ids. Each socket of a peer has a number, higher than that of its
sockets before; each relay has a number that no other relay has.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec


class Record(msgspec.Struct, frozen=True, tag=True):
    """``at``: seconds since the start of the run."""

    at: float


class Step(Record, frozen=True):
    """The next step of the run begins; the violations from here on are attributed to it."""

    faults: list[str]


class Joined(Record, frozen=True):
    """``room:joined`` arrived. ``others`` maps the peers in its list to whether they are away.

    ``resumable``: it has a resume token. ``resumed`` and ``gap``: as on the wire.
    """

    peer: str
    socket: int
    room: str
    others: dict[str, bool]
    resumable: bool = False
    resumed: bool = False
    gap: bool = False


class Announced(Record, frozen=True):
    """``peer:joined``, ``peer:left``, ``peer:away`` or ``peer:back`` arrived about ``subject``."""

    peer: str
    socket: int
    event: Literal["joined", "left", "away", "back"]
    subject: str


class Sent(Record, frozen=True):
    """The peer is about to relay to ``target``."""

    peer: str
    socket: int
    target: str
    number: int


class Answered(Record, frozen=True):
    """A relay was acknowledged (``code`` is empty), or refused with the code of an error."""

    number: int
    code: str = ""


class Received(Record, frozen=True):
    """A relay arrived."""

    peer: str
    socket: int
    sender: str
    number: int


class Reported(Record, frozen=True):
    """An ``error`` without an ``id`` arrived: a relay to ``target`` was lost."""

    peer: str
    target: str
    code: str


class Closed(Record, frozen=True):
    """A socket ended. ``peer`` is empty if it was in no room."""

    peer: str
    socket: int
    code: int


class Ended(Record, frozen=True):
    """The peer left, and the server confirmed it: an ``ack`` or a close with 1000."""

    peer: str


class Refused(Record, frozen=True):
    """A join, or a resume of ``peer``, was refused."""

    code: str
    peer: str = ""


class Row(msgspec.Struct, frozen=True):
    """A live membership in the database. ``remaining``: seconds until ``away_until``, if away."""

    remaining: float | None = None

    @property
    def is_away(self) -> bool:
        return self.remaining is not None


class Room(msgspec.Struct, frozen=True):
    """A room in the database: its limit, and its live peers."""

    limit: int
    rows: dict[str, Row]


class Settled(Record, frozen=True):
    """All is quiet: nobody joins, leaves or relays, and nothing is on its way any more.

    ``rooms``: the database, by room code. ``stuck``: clients that could not join again.
    """

    rooms: dict[str, Room]
    stuck: list[str] = []
    waited: float = 0.0


AnyRecord = (
    Step
    | Joined
    | Announced
    | Sent
    | Answered
    | Received
    | Reported
    | Closed
    | Ended
    | Refused
    | Settled
)


def save(history: Iterable[Record], path: Path) -> None:
    """Write a history, one record a line."""
    with path.open("wb") as file:
        for record in history:
            file.write(msgspec.json.encode(record) + b"\n")


def load(path: Path) -> list[AnyRecord]:
    """Read a history that ``save`` wrote."""
    decoder = msgspec.json.Decoder(AnyRecord)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]
