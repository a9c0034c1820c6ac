"""What the consumers say to each other over the channel layer, and the names they say it under."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from rooms.models import Participant

from . import protocol
from .peers import Change, Membership


class Relayed(TypedDict):
    """To one peer: a frame of another peer, as it will be sent; ``reply_channel`` hears of its loss."""

    type: str
    target: str
    sender: str
    reply_channel: str
    frame: str


class RosterChange(TypedDict):
    """To a room: one of its peers joined, left or changed; ``channel`` is where it is reached.

    Who joined the room later has the greater ``number``.
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
    live = {participant.peer_id for participant in present}
    for peer_id in membership.roster.keys() - live:
        yield left(membership, peer_id, "disconnected")
    for participant in present:
        if participant.peer_id not in membership.roster:
            event = protocol.PeerJoined(
                peer_id=participant.peer_id,
                user_info=participant.user_info,
                media=participant.media,
            )
            change = _change(membership, event, "joined")
            yield change | {"channel": participant.channel_name, "number": participant.pk}


def left(membership: Membership, peer_id: str, reason: str) -> RosterChange:
    """Return the announcement that a peer of the room has left."""
    return _change(membership, protocol.PeerLeft(peer_id=peer_id, reason=reason), "left")


def _change(
    membership: Membership, event: protocol.PeerLeft | protocol.PeerJoined, change: Change
) -> RosterChange:
    return RosterChange(
        type="signalling.roster",
        room=membership.room_code,
        peer_id=event.peer_id,
        channel="",
        change=change,
        number=0,
        frame=protocol.encode(event),
    )
