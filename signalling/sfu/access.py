"""What a peer has in an SFU that its client reaches by itself: a room to come to, and an end.

The room is opened while the client is on its way. Who came too early, for the SFU was away or had lost
the room, is told to come again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from signalling.transport.tasks import spawn

from .base import Sfu, SfuError, SfuRoom

logger = logging.getLogger("signalling")

AGAIN_SECONDS = 1.0

_removals: set[asyncio.Task[None]] = set()


class ClientAccess:
    """See the module. ``reset`` tells the client to come again, with a fresh token."""

    def __init__(
        self, backend: Sfu, room: SfuRoom, peer_id: str, reset: Callable[[], None]
    ) -> None:
        self.backend = backend
        self.room = room
        self.peer_id = peer_id
        self._reset = reset
        self._opening = asyncio.create_task(self._open(is_late=False))

    @property
    def is_opening(self) -> bool:
        """The room may not be there yet."""
        return not self._opening.done()

    def renew(self) -> None:
        """The SFU had lost the room, or may have."""
        if not self.is_opening:
            self._opening = asyncio.create_task(self._open(is_late=True))

    async def restart(self) -> None:
        """Have the client come again. Raises ``SfuError``."""
        await self.backend.open_room(self.room)
        self._reset()

    def stop(self) -> None:
        """Ask for nothing more."""
        self._opening.cancel()

    def end(self) -> None:
        """The peer is in the room no more; its client may think otherwise."""
        self.stop()
        spawn(self._remove(), _removals)

    async def _open(self, *, is_late: bool) -> None:
        """Open the room. While the SFU is known to be down it is not asked: ``renew`` comes after that."""
        while not self.backend.is_down:
            try:
                await self.backend.open_room(self.room)
                if is_late and self.peer_id not in await self.backend.peers(self.room):
                    self._reset()
                return
            except SfuError as error:
                logger.warning("%s has no room in the SFU yet: %s", self.peer_id, error)
                is_late = True
                await asyncio.sleep(AGAIN_SECONDS)

    async def _remove(self) -> None:
        try:
            await self.backend.remove(self.room, self.peer_id, None)
        except SfuError as error:  # the upkeep will
            logger.warning("%s is not removed from the SFU yet: %s", self.peer_id, error)
