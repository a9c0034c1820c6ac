"""What sites of tests use: a join policy that depends on the name of the room, a broken SFU."""

import time
from typing import Any

from rooms.models import Room
from signalling.peers.messages import ModeChanged
from signalling.sfu.base import Claim, Sfu, SfuRoom

FORBIDDEN = "forbidden"
BROKEN = "broken"
SLOW = "slow"


def can_join(user: Any, room: Room) -> bool:
    if room.name == BROKEN:
        raise RuntimeError("this hook is broken on purpose")
    if room.name == SLOW:
        time.sleep(5)
    return room.name != FORBIDDEN


def is_not_banned(user: Any, room: Room) -> bool:
    return not user.groups.filter(name="banned").exists()


class BrokenSfu(Sfu):
    """An SFU whose routes cannot be made: ``broken_mode`` provokes an error outside of requests."""

    def route(self, room: SfuRoom, peer_id: str) -> dict[str, Any]:
        raise RuntimeError("this SFU is broken on purpose")

    async def probe(self) -> None: ...

    async def open_room(self, room: SfuRoom) -> None: ...

    async def close_room(self, room: SfuRoom) -> None: ...

    async def rooms(self) -> set[SfuRoom]:
        return set()

    async def peers(self, room: SfuRoom) -> set[str]:
        return set()

    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None: ...


BROKEN_SFU = {"BACKEND": "tests.integration.hooks.BrokenSfu"}


def broken_mode(room_code: str) -> dict[str, Any]:
    """Return the announcement that a room uses ``BROKEN_SFU``."""
    changed = ModeChanged(
        type="signalling.mode",
        room=room_code,
        mode="sfu",
        version=1,
        is_switching=False,
        sfu="default",
        total=50,
        until="",
        reason="test",
        surplus=[],
    )
    return dict(changed)
