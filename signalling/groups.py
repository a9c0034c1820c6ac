"""What the consumers say to each other over the channel layer, and the names they say it under."""

from typing import TypedDict

from .peers import Change


class Relayed(TypedDict):
    """To one peer: a frame of another peer, as it will be sent."""

    type: str
    target: str
    sender: str
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


def room_group(room_code: str) -> str:
    """Return the group of a room. A stored code has only characters that a group name may have."""
    return f"signalling.room.{room_code}"
