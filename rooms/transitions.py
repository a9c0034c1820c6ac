"""Write a change of a room's mode and send the signal.

The caller has locked the room's row, and read it ``with_now``. ``admission`` and ``switching``
decide when a mode changes; no other module writes it.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from . import signals
from .conf import conf
from .models import Participant, Room


class Reason(StrEnum):
    """Why the mode of a room changed: the ``reason`` of the event ``room:mode``."""

    ROOM_GREW = "room_grew"
    HOST = "host"
    COMMITTED = "committed"
    SFU_LOST = "sfu_lost"
    SFU_UNREACHABLE = "sfu_unreachable"
    ROOM_SHRANK = "room_shrank"


def to_sfu(room: Room, sfu: str, reason: Reason, *, switching: bool) -> None:
    """Route a room through the SFU with the alias ``sfu``.

    ``switching``: keep the existing mesh until the switch is committed.
    """
    room.mode, room.sfu = Room.Mode.SFU, sfu
    room.mode_version += 1
    seconds = conf().switch_seconds if switching else None
    room.switching_until = room.now + timedelta(seconds=seconds) if seconds else None
    _save(room, reason)


def commit(room: Room) -> None:
    """End the switch to the SFU: the mesh is no longer required."""
    room.switching_until = None
    _save(room, Reason.COMMITTED)


def to_mesh(room: Room, reason: Reason, surplus: list[Participant] | None = None) -> None:
    """Make a room a mesh. ``surplus``: the participants that had to leave because of that."""
    has_failed = reason in {Reason.SFU_LOST, Reason.SFU_UNREACHABLE}
    pause = timedelta(seconds=conf().switch_pause)
    room.mode, room.sfu = Room.Mode.P2P, ""
    room.mode_version += 1
    room.switching_until = None
    room.no_sfu_before = room.now + pause if has_failed else None
    _save(room, reason, surplus)


def _save(room: Room, reason: Reason, surplus: list[Participant] | None = None) -> None:
    room.small_since = None
    room.save(
        update_fields=[
            "mode", "mode_version", "sfu", "switching_until", "no_sfu_before", "small_since",
        ]
    )  # fmt: skip
    signals.send_on_commit(
        signals.room_mode_changed, Room, room=room, reason=str(reason), surplus=surplus or []
    )
