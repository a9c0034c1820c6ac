"""The mode of a room as its peers know it, and what workers say to each other of it."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from rooms.models import Participant, Room


class Mode(NamedTuple):
    """Whether a room is a mesh, and what serves it otherwise. A later ``version`` counts; of the same one,
    that of a switch that was made."""

    mode: str = Room.Mode.P2P
    version: int = 0
    is_switching: bool = False
    sfu: str = ""
    total: int = 0

    @classmethod
    def of(cls, room: Room) -> Mode:
        return cls(room.mode, room.mode_version, room.is_switching, room.sfu, room.total_limit)

    @property
    def is_sfu(self) -> bool:
        return self.mode == Room.Mode.SFU

    def is_later_than(self, other: Mode) -> bool:
        return (self.version, not self.is_switching) > (other.version, not other.is_switching)


MISSED = "missed"
"""The reason of a change that is made up because it was not heard."""

MESH = Mode()
"""What every room begins as."""


class ModeChanged(TypedDict):
    """To a room: its mode has changed. Those of ``surplus`` have left because of that."""

    type: str
    room: str
    mode: str
    version: int
    is_switching: bool
    sfu: str
    total: int
    until: str
    reason: str
    surplus: list[str]


def changed(room: Room, reason: str, surplus: list[Participant] | None = None) -> ModeChanged:
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
        until=until.isoformat() if until else "",
        reason=reason,
        surplus=[peer.peer_id for peer in surplus or ()],
    )


def announced(message: ModeChanged) -> Mode:
    """Return the mode that an announcement is about."""
    return Mode(**{field: message[field] for field in Mode._fields})  # type: ignore[literal-required]
