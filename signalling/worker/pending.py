"""Writes that wait until the database is available again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from rooms.logs import RareWarning
from signalling.database import DATABASE_UNAVAILABLE, RowLocked

logger = logging.getLogger("signalling")

Write = Callable[[], Awaitable[Any]]

MOST = 10_000
"""Writes of one process that may wait: more than the sockets that it serves."""
FLUSH_SECONDS = 2.0
"""How long a flush begins further writes. The lease has to be renewed in between."""


class PendingWrites:
    """A queue of writes, in the order in which they were added.

    When it is full the oldest is dropped: the worker finds its row by comparing it with its sockets.
    """

    def __init__(self) -> None:
        self._writes: deque[Write] = deque()
        self._dropped = RareWarning(logger, "More than %d writes wait, the oldest is dropped")

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, write: Write) -> None:
        """Queue a write for the next ``flush``."""
        if len(self._writes) >= MOST:
            self._writes.popleft()
            self._dropped.log(MOST)
        self._writes.append(write)

    async def flush(self) -> None:
        """Write what waits. Raises ``DATABASE_UNAVAILABLE`` and keeps the rest.

        A write to a locked row waits for the next flush. One that fails for another reason is logged
        and dropped.
        """
        deadline = monotonic() + FLUSH_SECONDS
        for _ in range(len(self._writes)):
            if not self._writes or monotonic() > deadline:
                return
            write = self._writes.popleft()
            try:
                await write()
            except RowLocked:
                self._writes.append(write)
            except DATABASE_UNAVAILABLE:
                self._writes.appendleft(write)
                raise
            except Exception:
                logger.exception("A queued write failed")
