"""A peer's access to an SFU that its client connects to directly.

The room is created in the SFU while the client is connecting. If the client may have connected too
early (the SFU was unavailable or had lost the room), the client is asked to connect again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from signalling.transport.tasks import spawn

from .base import Sfu, SfuError, SfuRoom

logger = logging.getLogger("signalling")

RETRY_SECONDS = 1.0

_removals: set[asyncio.Task[None]] = set()


class ClientAccess:
    """Access of one peer to one room.

    ``reset`` sends ``sfu:reset``: the client connects again, with a fresh token.
    """

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
        """The room may not exist in the SFU yet."""
        return not self._opening.done()

    def reopen(self) -> None:
        """Create the room again, because the SFU may have lost it."""
        if not self.is_opening:
            self._opening = asyncio.create_task(self._open(is_late=True))

    async def restart(self) -> None:
        """Ask the client to connect again. Raises ``SfuError``."""
        await self.backend.open_room(self.room)
        self._reset()

    def stop(self) -> None:
        """Cancel pending work. The client may stay connected."""
        self._opening.cancel()

    def revoke(self) -> None:
        """Disconnect the client from the SFU: the peer has left the room."""
        self.stop()
        spawn(self._remove(), _removals)

    async def _open(self, *, is_late: bool) -> None:
        """Create the room, with retries. Stops if the SFU is down; ``reopen`` follows its recovery.

        ``is_late``: the client may already have tried to connect, so reset it unless it is in.
        """
        while not self.backend.is_down:
            try:
                await self.backend.open_room(self.room)
                if is_late and self.peer_id not in await self.backend.peers(self.room):
                    self._reset()
                return
            except SfuError as error:
                logger.warning(
                    "Could not open the SFU room of %s, retrying: %s", self.peer_id, error
                )
                is_late = True
                await asyncio.sleep(RETRY_SECONDS)

    async def _remove(self) -> None:
        try:
            await self.backend.remove(self.room, self.peer_id, None)
        except SfuError as error:  # the reconciler tries again
            logger.warning("Could not remove %s from the SFU: %s", self.peer_id, error)
