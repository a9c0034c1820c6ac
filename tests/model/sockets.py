"""The sockets of the model: real ``RoomEvents`` and ``Membership``, so the rules are the code's.

A state contains only the number of a membership. Equal memberships have one number, and each
call of the code with the same arguments is made once.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any, NamedTuple

from channels.exceptions import ChannelFull

from rooms.models import Participant, Room
from rooms.services import Joined
from signalling.conf import SignallingSettings
from signalling.peers import messages
from signalling.peers.membership import Membership
from signalling.peers.resumption import Resumption
from signalling.peers.room_events import RoomEvents
from signalling.peers.versions import SeenVersions
from signalling.worker.reconciler import Reconciler

from .freezing import freeze, thaw
from .state import Change, Message, Relay, Row, Snapshot, Switch, Takeover

CODE = "ROOM"
LATER = datetime(2030, 1, 1, tzinfo=UTC)
ANY_VERSION = 1_000_000
"""Instead of infinity, for a roster that is to be read in any case."""
CACHED = 200_000

Event = tuple[str, int]
"""What a client is sent: ``joined``, ``left``, ``away`` or ``back``, and the peer; or ``mode``."""
Fate = str
"""``"open"``; ``"closed"``: without its peer; ``"fenced"``: its peer is detached; ``"lost"``: it is
being closed, and its peer is lost or leaves."""


@dataclass(frozen=True)
class Classes:
    """The classes of the code that the model calls. Errors of design replace them."""

    membership: type[Membership] = Membership
    versions: type[SeenVersions] = SeenVersions
    room: type[RoomEvents] = RoomEvents
    reconciler: type[Reconciler] = Reconciler


class Outcome(NamedTuple):
    """What a call of the code has done with a socket."""

    member: int
    events: tuple[Event, ...] = ()
    fate: Fate = "open"
    due: int = 0
    """The version of the roster that must be read; 0: none."""
    is_relayed: bool = False


class Replies:
    """What a client is sent. It stands for ``peers.replies.Replies``."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.is_closed = False

    def write(self, frame: str, user: str | None = None) -> None:
        self.frames.append(frame)

    def push_error(self, error: object) -> None:
        self.is_closed = True

    send_error = push_error


class ModelResumption(Resumption):
    """Knows nothing of held frames."""

    def __init__(self, replies: Any) -> None:
        self._replies = replies
        self._reorder = self._handover = None
        self._restored = []
        self.has_detached = self.has_moved = False

    def detach(self, *args: Any, **kwargs: Any) -> Any:
        self.has_detached = True
        return SimpleNamespace(deliver=self._move)

    def _move(self, message: Any) -> None:
        """The detached peer gets a takeover, or learns that the peer is back: it only forwards."""
        self.has_moved = True


class Open:
    """One real ``RoomEvents``, with what it has done."""

    def __init__(self, classes: Classes, channel: int, membership: Membership | None) -> None:
        self.replies = Replies()
        self.resumption = ModelResumption(self.replies)
        self.due = 0
        reconciler = SimpleNamespace(request=self.request)
        suspensions = SimpleNamespace(distrust=lambda: None)
        worker: Any = SimpleNamespace(reconciler=reconciler, suspensions=suspensions)
        stores: Any = SimpleNamespace(channel_name=str(channel), is_busy=True)
        replies: Any = self.replies
        self.room: Any = _without_tasks(classes)(
            SignallingSettings(),
            worker=worker,
            stores=stores,
            replies=replies,
            resumption=self.resumption,
            tasks=set(),
        )
        self.room.membership = membership
        self.membership = membership

    def request(self, room_code: str, version: float = math.inf) -> None:
        self.due = max(self.due, ANY_VERSION if version == math.inf else int(version))

    @property
    def fate(self) -> Fate:
        if self.resumption.has_detached and not self.resumption.has_moved:
            return "fenced"
        if self.room.membership is None:
            return "closed"
        return "lost" if self.replies.is_closed else "open"

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that the client was sent, except relays."""
        return tuple(_event(frame) for frame in self.replies.frames if frame != "relay")


class Sockets:
    """Calls the real code."""

    def __init__(self, classes: Classes | None = None) -> None:
        self.classes = classes or Classes()
        self._numbers: dict[Any, int] = {None: 0}
        self._frozen: list[Any] = [None]
        self.seat = lru_cache(CACHED)(self._seat)
        self.deliver = lru_cache(CACHED)(self._deliver)
        self.roster = lru_cache(CACHED)(self._roster)

    def _seat(self, peer: int, snapshot: Snapshot, early: tuple[Change | Switch, ...]) -> Outcome:
        """Seat a socket whose join or resume has returned ``snapshot``."""
        membership = self.classes.membership(CODE)
        live = [(other, row) for other, row in enumerate(snapshot.rows) if row.is_live]
        membership.adopt(
            Joined(
                room=room(snapshot),
                participant=participant(peer, snapshot.rows[peer]),
                others=[participant(other, row) for other, row in live if other != peer],
                resume_token="token",
            )
        )
        if self.classes.versions is not SeenVersions:
            version = snapshot.version
            membership.versions = self.classes.versions(complete=version, latest=version)
        socket = Open(self.classes, snapshot.rows[peer].channel, membership)
        for message in early:
            socket.room.deliver(announcement(message))
        socket.room.seated()
        return self.outcome(socket)

    def _deliver(self, member: int, channel: int, message: Message) -> Outcome:
        """Deliver a message to a seated socket."""
        socket = Open(self.classes, channel, self.thaw(member))
        with suppress(ChannelFull):  # raised to the sender
            socket.room.deliver(self._message(socket, message))
        return self.outcome(socket)

    def _message(self, socket: Open, message: Message) -> Any:
        assert socket.membership is not None
        mine = socket.membership.peer_id
        match message:
            case Change() | Switch():
                return announcement(message)
            case Takeover():
                return messages.Takeover(
                    type="signalling.takeover", peer_id=mine, reply_channel="new"
                )
            case Relay():
                return messages.Relayed(
                    type="signalling.relay",
                    target=mine,
                    sender=name(message.sender),
                    epoch=message.epoch,
                    number=0,
                    reply_channel="",
                    frame="relay",
                )

    def _roster(self, member: int) -> dict[int, int]:
        """Return the peers of a roster with their channels."""
        roster = self.thaw(member).roster
        return {index(peer_id): int(channel) for peer_id, channel in roster.items()}

    # --- Numbers ------------------------------------------------------------------------------

    def outcome(self, socket: Open) -> Outcome:
        """Return what has become of a socket."""
        member = 0 if socket.fate in ("closed", "fenced") else self.freeze(socket.room.membership)
        is_relayed = "relay" in socket.replies.frames
        return Outcome(member, socket.events, socket.fate, socket.due, is_relayed)

    def freeze(self, membership: Membership) -> int:
        """Return the number of a membership."""
        frozen = freeze(membership)
        number = self._numbers.setdefault(frozen, len(self._frozen))
        if number == len(self._frozen):
            self._frozen.append(frozen)
        return number

    def thaw(self, number: int) -> Membership:
        """Return the membership with this number."""
        membership: Membership = thaw(self._frozen[number])
        return membership


@cache
def _without_tasks(classes: Classes) -> type[RoomEvents]:
    """Return the class of ``classes.room``, whose sockets do not unsubscribe in the background."""

    class WithoutTasks(classes.room):  # type: ignore[name-defined]
        def _forget(self, membership: Membership) -> None:
            self.membership = None

    return WithoutTasks


@cache
def _event(frame: str) -> Event:
    if frame.startswith('{"event":"room:mode"'):
        data = json.loads(frame)["data"]
        return "mode", 2 * data["version"] - data.get("switching", False)
    _, _, _, event, _, _, _, _, _, peer_id, *_ = frame.split('"')
    return event.removeprefix("peer:"), index(peer_id)


def name(peer: int) -> str:
    """Return the peer id of a peer."""
    return f"peer_{peer}"


def index(peer_id: str) -> int:
    """Return the number of the peer with this peer id."""
    return int(peer_id.removeprefix("peer_"))


@cache
def room(snapshot: Snapshot) -> Room:
    """Return the row of the room as the code gets it."""
    version, is_switching = _mode(snapshot.mode)
    room = Room(code=CODE, roster_version=snapshot.version, mode_version=version)
    room.switching_until = LATER if is_switching else None
    room.live_count = sum(row.is_live for row in snapshot.rows)
    return room


def _mode(number: int) -> tuple[int, bool]:
    """Return the version of a mode, and whether the switch to it has not been committed."""
    return (number + 1) // 2, bool(number % 2)


@cache
def participant(peer: int, row: Row) -> Participant:
    """Return the row of a peer as the code gets it."""
    return Participant(
        pk=row.number,
        peer_id=name(peer),
        channel_name=str(row.channel),
        epoch=row.epoch,
        user_info={"username": name(peer)},
        away_until=LATER if row.state == "away" else None,
    )


@cache
def announcement(change: Change | Switch) -> Any:
    """Return the announcement of a change as the code gets it."""
    if isinstance(change, Switch):
        return messages.mode_changed(room(Snapshot(0, (), change.mode)), "")
    peer_id, version = name(change.peer), change.version
    row = Row(epoch=change.epoch, channel=change.channel, number=change.number)
    match change.kind:
        case "joined":
            return messages.joined(CODE, participant(change.peer, row), version)
        case "back":
            return messages.back(CODE, participant(change.peer, row), version)
        case "away":
            return messages.away(CODE, peer_id, str(change.channel), LATER, version)
        case "left":
            return messages.left(CODE, peer_id, "left", version, epoch=change.epoch)
        case "removed":
            return messages.Removed(
                type="signalling.removed", room=CODE, peer_id=peer_id, version=version
            )
