"""What the columns of a membership mean: whether its peer is in the room, and whether it is away."""

from __future__ import annotations

from typing import Any


class Liveness:
    """Part of ``Participant``, and of rows that were read without it."""

    left_at: Any
    away_until: Any

    @property
    def is_live(self) -> bool:
        """Whether the peer is in the room: connected or away."""
        return self.left_at is None

    @property
    def is_connected(self) -> bool:
        """Whether the peer is in the room and has a socket."""
        return self.is_live and self.away_until is None

    @property
    def is_away(self) -> bool:
        """Whether the peer has lost its socket and may still resume."""
        return self.is_live and self.away_until is not None
