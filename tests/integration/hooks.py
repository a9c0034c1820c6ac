"""A join policy that refuses or fails, depending on the name of the room."""

from typing import Any

from rooms.models import Room

FORBIDDEN = "forbidden"
BROKEN = "broken"


def can_join(user: Any, room: Room) -> bool:
    if room.name == BROKEN:
        raise RuntimeError("this hook is broken on purpose")
    return room.name != FORBIDDEN
