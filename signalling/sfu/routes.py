"""The way to the SFU of a room: what the client of a peer is told of it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from rooms.models import Room
from signalling import protocol, sfu

from .base import SfuRoom
from .mode import Mode


def sfu_room(mode: Mode, room_code: str) -> SfuRoom:
    """Return a room as its SFU knows it."""
    return SfuRoom(Room(code=room_code).public_id, mode.version, mode.total)


def route(mode: Mode, room_code: str, peer_id: str) -> dict[str, Any] | None:
    """Return how the client of a peer comes to the SFU of its room, if that has one."""
    backend = sfu.get_sfus().get(mode.sfu)
    if not mode.is_sfu or backend is None:
        return None
    return backend.route(sfu_room(mode, room_code), peer_id)


def event(
    mode: Mode, room_code: str, peer_id: str, *, reason: str, until: str = ""
) -> protocol.RoomMode:
    """Return what the client of a peer is told when the mode of its room has changed."""
    way = route(mode, room_code, peer_id)
    return protocol.RoomMode(
        mode=mode.mode,
        version=mode.version,
        switching=mode.is_switching,
        until=until or UNSET,
        reason=reason,
        sfu=way if way is not None else UNSET,
    )
