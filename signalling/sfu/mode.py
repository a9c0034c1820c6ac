"""The mode of a room, as its peers know it."""

from __future__ import annotations

from typing import NamedTuple

from rooms.models import Room


class Mode(NamedTuple):
    """Whether a room is a mesh or routed through an SFU, and which one.

    ``version`` grows with every change. A committed switch supersedes the same version while it
    ``is_switching``.
    """

    mode: str = Room.Mode.P2P
    version: int = 0
    is_switching: bool = False
    sfu: str = ""
    total: int = 0

    @classmethod
    def of(cls, room: Room) -> Mode:
        """Return the mode of a room as it was read from the database."""
        return cls(room.mode, room.mode_version, room.is_switching, room.sfu, room.total_limit)

    @property
    def is_sfu(self) -> bool:
        return self.mode == Room.Mode.SFU

    def is_later_than(self, other: Mode) -> bool:
        return (self.version, not self.is_switching) > (other.version, not other.is_switching)


MESH = Mode()
"""The initial mode of every room."""
