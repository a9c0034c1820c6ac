"""How a client reaches the SFU of its room: the ``sfu`` field of events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET

from rooms.clock import clock
from rooms.models import Room
from signalling import protocol

from .base import SfuRoom
from .mode import Mode
from .registry import get_sfus


def sfu_room(mode: Mode, room_code: str) -> SfuRoom:
    """Return the room in the SFU that serves a room in this mode."""
    return SfuRoom(Room(code=room_code).public_id, mode.version, mode.total)


def route(mode: Mode, room_code: str, peer_id: str) -> dict[str, Any] | None:
    """Return how the client of a peer reaches the SFU, or None if no SFU serves the room."""
    backend = get_sfus().get(mode.sfu) if mode.is_sfu else None
    return None if backend is None else backend.route(sfu_room(mode, room_code), peer_id)


def event(
    mode: Mode, room_code: str, peer_id: str, *, reason: str, until: str = ""
) -> protocol.RoomMode:
    """Return the ``room:mode`` event for the client of a peer."""
    sfu = route(mode, room_code, peer_id)
    left = clock.seconds_until(datetime.fromisoformat(until)) if until else UNSET
    return protocol.RoomMode(
        mode=mode.mode,
        version=mode.version,
        switching=mode.is_switching,
        until=until or UNSET,
        seconds=left,
        reason=reason,
        sfu=sfu if sfu is not None else UNSET,
    )
