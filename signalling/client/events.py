"""What a client reports: its state, the events from the server, and its end."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import NamedTuple

from signalling.protocol import CloseCode

from .connection import Data


class State(StrEnum):
    CONNECTING = "connecting"
    """Not connected yet."""
    CONNECTED = "connected"
    """Connected and, if the client was in a room, in the room again."""
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
    """For good: ``close`` was called, or the server refused the client for good."""


class Event(NamedTuple):
    """An event from the server: its name and its data, as described in PROTOCOL.md."""

    name: str
    data: Data


CLOSE_REASONS = {int(code): code.name.lower().replace("_", " ") for code in CloseCode}
"""What an exception says about a close code without a reason of its own."""


class ClientClosed(Exception):
    """The client is closed and will not reconnect.

    ``code`` is the close code. If the server refused a request for good, the ``__cause__`` is its
    ``RequestRefused``.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        reason = reason or CLOSE_REASONS.get(code, "")
        super().__init__(f"closed with {code}{reason and ': '}{reason}")
        self.code = code


class EventQueue:
    """Events that the program has not read yet, at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Add an event. Raises ``ClientClosed`` if the queue is full."""
        if self._queue.qsize() >= self._limit:
            raise ClientClosed(CloseCode.TOO_SLOW, f"{self._limit} events wait to be read")
        self._queue.put_nowait(event)

    async def next(self) -> Event | None:
        """Wait for the next event and return it; return ``None`` after the last one."""
        event = await self._queue.get()
        if event is None:
            self.end()  # for the next call
        return event

    def end(self) -> None:
        """Mark the end: ``next`` returns what is queued, then ``None``."""
        self._queue.put_nowait(None)
