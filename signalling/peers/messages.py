"""Messages that consumers send each other through the channel layer.

Each type has a ``Literal`` type name, so ``match message["type"]`` narrows a ``Message``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict

from rooms import names
from rooms.clock import clock, with_offset
from rooms.models import Participant, Room
from signalling import protocol
from signalling.sfu.mode import Mode

Change = Literal["joined", "left", "away", "back"]


class Relayed(TypedDict):
    """To one peer: an encoded frame of another peer.

    ``number`` counts the frames from this sender to this target. All peers of a ``user`` share what
    may wait for the target. ``epoch`` is that of the sender's socket. Earlier builds name neither
    user nor epoch. The layer reports a loss to ``reply_channel``.
    """

    type: Literal["signalling.relay"]
    target: str
    sender: str
    epoch: NotRequired[int]
    user: NotRequired[str]
    number: int
    reply_channel: str
    frame: str


HeldFrame = tuple[str, int, str]
"""Sender, number and frame of a relay that is held for its target."""


class HeldState(TypedDict):
    """What a socket needs to resume a peer; also stored as JSON in ``Participant.held``."""

    frames: list[HeldFrame]
    sent: dict[str, int]
    received: dict[str, int]
    received_epochs: NotRequired[dict[str, int]]
    gap: bool


def held_state(stored: dict[str, Any]) -> HeldState:
    """Return what ``Participant.held`` contains. An earlier build named ``received`` ``heard``."""
    held = HeldState(
        frames=[(sender, number, frame) for sender, number, frame in stored["frames"]],
        sent=stored["sent"],
        received=stored["received"] if "received" in stored else stored["heard"],
        gap=stored["gap"],
    )
    if "received_epochs" in stored:
        held["received_epochs"] = stored["received_epochs"]
    return held


class Takeover(TypedDict):
    """To the peer's previous channel: the socket at ``reply_channel`` has resumed the peer."""

    type: Literal["signalling.takeover"]
    peer_id: str
    reply_channel: str


class Handover(HeldState):
    """Reply to a ``Takeover``: the held frames and the relay counters."""

    type: Literal["signalling.handover"]
    peer_id: str


class RosterChange(TypedDict):
    """To a room: a peer joined, left, lost its socket or resumed; ``channel`` is its channel.

    ``number`` orders the changes, which may arrive in any order: the join number of a peer that
    joined, the epoch of a peer that is back or has left. ``version`` is the version of the roster after the
    change; 0 or none before the change is in the database, and from earlier builds.
    """

    type: Literal["signalling.roster"]
    room: str
    peer_id: str
    channel: str
    change: Change
    number: int
    version: NotRequired[int]
    frame: str


class Announcement(TypedDict):
    """To a room: an encoded event about one of its peers, for all others."""

    type: Literal["signalling.announcement"]
    room: str
    peer_id: str
    frame: str


class Closed(TypedDict):
    """To a room: it was closed."""

    type: Literal["signalling.closed"]
    room: str
    reason: str


class Removed(TypedDict):
    """To a room: one of its peers was removed, in the admin for example.

    ``reason`` is a value of ``Participant.Reason``, and ``version`` as in a ``RosterChange``.
    Earlier builds do not send them.
    """

    type: Literal["signalling.removed"]
    room: str
    peer_id: str
    reason: NotRequired[str]
    version: NotRequired[int]


class ModeChanged(TypedDict):
    """To a room: its mode has changed. The peers in ``surplus`` had to leave because of that."""

    type: Literal["signalling.mode"]
    room: str
    mode: str
    version: int
    is_switching: bool
    sfu: str
    total: int
    until: str
    reason: str
    surplus: list[str]


class ChannelLost(TypedDict):
    """From the layer, to a ``reply_channel``: messages to ``channel`` were lost.

    ``peer_id``: the peer that had this channel, if a detached peer has passed the report on.
    """

    type: Literal["channel.lost"]
    channel: str
    peer_id: NotRequired[str]


class ChannelRefused(TypedDict):
    """From the layer, to a ``reply_channel``: ``channel`` has refused a message with ``ChannelFull``.

    ``peer_id``: as in ``ChannelLost``.
    """

    type: Literal["channel.refused"]
    channel: str
    peer_id: NotRequired[str]


class ChannelMissed(TypedDict):
    """From the layer: group messages to this process may have been lost."""

    type: Literal["channel.missed"]


RoomMessage = RosterChange | Announcement | Closed | Removed | ModeChanged
Message = Relayed | Takeover | Handover | RoomMessage | ChannelLost | ChannelRefused | ChannelMissed


def room_group(room_code: str) -> str:
    """Return the group name of a room. Every stored code is valid in a group name."""
    return f"signalling.room.{room_code}"


def joined(room: str, participant: Participant, version: int = 0) -> RosterChange:
    """Return the announcement that a peer has joined."""
    event = protocol.PeerJoined(
        peer_id=participant.peer_id,
        user_info=participant.user_info,
        media=participant.media,
        name_keys=names.keys(participant.user_info),
    )
    return _change(
        room,
        participant.peer_id,
        "joined",
        event,
        channel=participant.channel_name,
        number=participant.pk,
        version=version,
    )


def left(room: str, peer_id: str, reason: str, version: int = 0, *, epoch: int = 0) -> RosterChange:
    """Return the announcement that a peer has left the room.

    ``epoch``: that of the socket that announces it without a version.
    """
    event = protocol.PeerLeft(peer_id=peer_id, reason=reason)
    return _change(room, peer_id, "left", event, number=epoch, version=version)


def away(room: str, peer_id: str, channel: str, until: datetime, version: int = 0) -> RosterChange:
    """Return the announcement that the peer at ``channel`` has lost its socket."""
    event = protocol.PeerAway(
        peer_id=peer_id,
        until=with_offset(until).isoformat(),
        seconds=clock.seconds_until(until),
    )
    return _change(room, peer_id, "away", event, channel=channel, version=version)


def back(room: str, participant: Participant, version: int = 0) -> RosterChange:
    """Return the announcement that a peer has resumed and has a new channel."""
    return _change(
        room,
        participant.peer_id,
        "back",
        protocol.PeerBack(peer_id=participant.peer_id),
        channel=participant.channel_name,
        number=participant.epoch,
        version=version,
    )


def updated(room: str, event: protocol.PeerUpdated) -> Announcement:
    """Return the announcement of a peer's new media state, display name or path."""
    return Announcement(
        type="signalling.announcement",
        room=room,
        peer_id=event.peer_id,
        frame=protocol.encode(event),
    )


def mode_changed(room: Room, reason: str, surplus: list[Participant] | None = None) -> ModeChanged:
    """Return the announcement that the mode of a room has changed."""
    mode, until = Mode.of(room), room.switching_until
    return ModeChanged(
        type="signalling.mode",
        room=room.code,
        mode=mode.mode,
        version=mode.version,
        is_switching=mode.is_switching,
        sfu=mode.sfu,
        total=mode.total,
        until=with_offset(until).isoformat() if until else "",
        reason=reason,
        surplus=[peer.peer_id for peer in surplus or ()],
    )


def announced_mode(message: ModeChanged) -> Mode:
    """Return the mode in an announcement."""
    return Mode(
        message["mode"],
        message["version"],
        message["is_switching"],
        message["sfu"],
        message["total"],
    )


def _change(
    room: str,
    peer_id: str,
    change: Change,
    event: protocol.ServerEvent,
    *,
    channel: str = "",
    number: int = 0,
    version: int = 0,
) -> RosterChange:
    return RosterChange(
        type="signalling.roster",
        room=room,
        peer_id=peer_id,
        channel=channel,
        change=change,
        number=number,
        version=version,
        frame=protocol.encode(event),
    )
