"""The send queue of one client: ordered, bounded, and it never blocks the sender."""

from __future__ import annotations

import asyncio
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

logger = logging.getLogger("signalling")

Event = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]


_EMPTY: deque[Event] = deque(maxlen=0)


class Overflow(Exception):
    """The send queue is full: the client reads too slowly."""


class SendQueue:
    """Sends ASGI events to one client, at most ``max_frames`` and ``max_bytes`` of them queued.

    ``put`` runs the server's ``send`` at once, up to its first suspension. Usually the server's
    buffer has room and ``send`` completes: no task and no queue are needed. If it suspends, a
    writer task finishes it, and later events wait in the queue behind it, so that the order is
    kept.
    """

    __slots__ = (
        "_queue",
        "_send",
        "_size",
        "_writer",
        "max_bytes",
        "max_frames",
    )

    def __init__(self, send: Send, max_frames: int, max_bytes: int) -> None:
        self._send: Callable[[Event], Coroutine[Any, Any, None]] = send  # type: ignore[assignment]
        self._queue: deque[Event] = _EMPTY  # most sockets never queue, and a deque takes 600 bytes
        self._size = 0
        self._writer: asyncio.Task[None] | None = None
        self.max_frames = max_frames
        self.max_bytes = max_bytes

    def put(self, event: Event) -> None:
        """Send an ASGI event, or queue it. Raises ``Overflow`` if the queue is full."""
        if self._writer is not None:
            self._enqueue(event)
            return
        sending = self._send(event)
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._disconnected(error)
            return
        self._writer = asyncio.get_running_loop().create_task(
            self._write(_resume(sending, awaited))
        )

    def put_last(self, *events: Event) -> None:
        """Send events after the one being written, and discard all that wait."""
        self._clear()
        for event in events:
            if self._writer is None:
                self.put(event)
            else:
                self._append(event)

    async def drained(self) -> None:
        """Wait until the server has taken everything."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])

    def cancel(self) -> None:
        """Discard what waits, and stop writing."""
        self._clear()
        if self._writer is not None:
            self._writer.cancel()

    @property
    def waiting(self) -> int:
        """The number of events that wait for the client."""
        return len(self._queue)

    def _disconnected(self, error: Exception) -> None:
        """Discard the queue: the client has disconnected, and the consumer's event is on its way.

        ASGI servers should raise ``OSError``; Daphne raises autobahn's ``Disconnected``.
        """
        logger.debug("A client disconnected before a frame could be sent: %r", error)
        self._clear()

    def _clear(self) -> None:
        self._queue.clear()
        self._size = 0

    def _enqueue(self, event: Event) -> None:
        size = _size(event)
        if len(self._queue) >= self.max_frames or self._size + size > self.max_bytes:
            raise Overflow
        self._append(event)
        self._size += size

    def _append(self, event: Event) -> None:
        if self._queue is _EMPTY:
            self._queue = deque()
        self._queue.append(event)

    async def _write(self, first: Awaitable[None]) -> None:
        try:
            await first
            while self._queue:
                event = self._queue.popleft()
                self._size = max(0, self._size - _size(event))
                await self._send(event)
        except Exception as error:
            self._disconnected(error)
        finally:
            self._writer = None


@types.coroutine
def _resume(sending: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Run a coroutine to completion that was started and waits for ``awaited``."""
    try:
        while True:
            try:
                result = yield awaited
            except BaseException as error:
                awaited = sending.throw(error)
            else:
                awaited = sending.send(result)
    except StopIteration:
        return


def _size(event: Event) -> int:
    return len(event.get("text") or event.get("bytes") or "")
