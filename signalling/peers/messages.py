"""What the consumers say to each other over the channel layer, and the names they say it under."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypedDict

from rooms.models import Participant
from signalling import protocol

from .port import Change, Membership


class Relayed(TypedDict):
    """To one peer: a frame of another peer, as it will be sent; ``reply_channel`` hears of its loss.

    ``number`` counts the frames of this sender to this target.
    """

    type: str
    target: str
    sender: str
    number: int
    reply_channel: str
    frame: str


HeldFrame = tuple[str, int, str]
"""Sender, number and frame of a relay that waits for its target."""


class Takeover(TypedDict):
    """To where a peer was reached until now: it is reached at ``reply_channel``."""

    type: str
    peer_id: str
    reply_channel: str


class Handover(TypedDict):
    """The answer: what waited there, and how far the peer has counted."""

    type: str
    peer_id: str
    frames: list[HeldFrame]
    sent: dict[str, int]
    heard: dict[str, int]
    gap: bool


class RosterChange(TypedDict):
    """To a room: one of its peers joined, left or changed; ``channel`` is where it is reached.

    Who joined the room later has the greater ``number``; of who is back it is the epoch, for the news of
    two resumes may come in any order.
    """

    type: str
    room: str
    peer_id: str
    channel: str
    change: Change
    number: int
    frame: str


class Closed(TypedDict):
    """To a room: it was closed."""

    type: str
    room: str
    reason: str


class Removed(TypedDict):
    """To a room: one of its peers was removed from outside."""

    type: str
    room: str
    peer_id: str


def room_group(room_code: str) -> str:
    """Return the group of a room. A stored code has only characters that a group name may have."""
    return f"signalling.room.{room_code}"


def missed(membership: Membership, present: list[Participant]) -> Iterator[RosterChange]:
    """Yield what a peer has not heard, as the announcements that it should have heard."""
    room = membership.room_code
    live = {participant.peer_id for participant in present}
    for peer_id in membership.roster.keys() - live:
        yield left(room, peer_id, "disconnected")
    for participant in present:
        known = membership.roster.get(participant.peer_id)
        if known is None:
            yield joined(room, participant)
        elif known != participant.channel_name:
            yield back(room, participant)


def joined(room: str, participant: Participant) -> RosterChange:
    """Return the announcement that a peer has joined."""
    event = protocol.PeerJoined(
        peer_id=participant.peer_id, user_info=participant.user_info, media=participant.media
    )
    change = _change(room, participant.peer_id, "joined", event)
    return change | {"channel": participant.channel_name, "number": participant.pk}


def left(room: str, peer_id: str, reason: str) -> RosterChange:
    """Return the announcement that a peer of the room has left."""
    return _change(room, peer_id, "left", protocol.PeerLeft(peer_id=peer_id, reason=reason))


def away(room: str, peer_id: str, channel: str, until: datetime) -> RosterChange:
    """Return the announcement that a peer has lost its socket, which was reached at ``channel``."""
    event = protocol.PeerAway(peer_id=peer_id, until=until.isoformat())
    return _change(room, peer_id, "away", event) | {"channel": channel}


def back(room: str, participant: Participant) -> RosterChange:
    """Return the announcement that a peer is reached at another channel now."""
    event = protocol.PeerBack(peer_id=participant.peer_id)
    change = _change(room, participant.peer_id, "back", event)
    return change | {"channel": participant.channel_name, "number": participant.epoch}


def updated(room: str, event: protocol.PeerUpdated) -> RosterChange:
    """Return the announcement that a peer has something new to say of itself."""
    return _change(room, event.peer_id, "updated", event)


def _change(room: str, peer_id: str, change: Change, event: protocol.ServerEvent) -> RosterChange:
    return RosterChange(
        type="signalling.roster",
        room=room,
        peer_id=peer_id,
        channel="",
        change=change,
        number=0,
        frame=protocol.encode(event),
    )
