"""Writes that wait until the database is available again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from signalling.database import DATABASE_UNAVAILABLE

logger = logging.getLogger("signalling")

Write = Callable[[], Awaitable[Any]]


class PendingWrites:
    """A queue of writes, in the order in which they were added."""

    def __init__(self) -> None:
        self._writes: list[Write] = []

    def add(self, write: Write) -> None:
        """Queue a write for the next ``flush``."""
        self._writes.append(write)

    async def flush(self) -> None:
        """Write everything. Raises ``DATABASE_UNAVAILABLE`` and keeps the rest.

        A write that fails for another reason is logged and dropped.
        """
        while self._writes:
            write = self._writes[0]
            try:
                await write()
            except DATABASE_UNAVAILABLE:
                raise
            except Exception:
                logger.exception("A queued write failed")
            self._writes.remove(write)
