"""The send queue of one client: ordered, bounded, and it never blocks the sender."""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import monotonic
from typing import Any

from .backlog import Backlog, Event, Overflow
from .shares import ShareExceeded

__all__ = ["Event", "Overflow", "Send", "SendQueue", "ShareExceeded"]

logger = logging.getLogger("signalling")

Send = Callable[[Event], Awaitable[None]]


class SendQueue:
    """Sends ASGI events to one client; a bounded number of them waits (``Backlog``).

    ``put`` runs the server's ``send`` at once, up to its first suspension. Usually the server's
    buffer has room and ``send`` completes: no task and no queue are needed. If it suspends, a
    writer task finishes it, and later events wait in the queue behind it, so that the order is
    kept.

    A client is *slow* if events wait for it; senders that exceed their share get
    ``ShareExceeded``. It has *stalled* if, in addition, no event could be written for
    ``stall_seconds``: then ``Overflow`` is raised instead.
    """

    __slots__ = (
        "_backlog",
        "_progress_at",
        "_send",
        "_writer",
        "max_bytes",
        "max_frames",
        "stall_seconds",
    )

    def __init__(
        self, send: Send, max_frames: int, max_bytes: int, stall_seconds: float = 30.0
    ) -> None:
        self._send: Callable[[Event], Coroutine[Any, Any, None]] = send  # type: ignore[assignment]
        self._backlog: Backlog | None = None  # most sockets never queue, and it takes 1 KB
        self._writer: asyncio.Task[None] | None = None
        self._progress_at = 0.0
        """When the last event was written, while a writer task is running."""
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.stall_seconds = stall_seconds

    def put(self, event: Event, sender: str | None = None) -> None:
        """Send an ASGI event, or queue it.

        ``sender``: the user whose share a relay uses; ``None`` for the server's own events. Raises
        ``ShareExceeded`` for a relay that exceeds the share; ``Overflow`` if the client has
        stalled, or too many of the server's own events wait.
        """
        if self._writer is not None:
            self._enqueue(event, sender)
            return
        sending = self._send(event)
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._disconnected(error)
            return
        self._progress_at = monotonic()
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
                self._queue().add_last(event)

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
        return len(self._backlog or ())

    def _disconnected(self, error: Exception) -> None:
        """Discard the queue: the client has disconnected, and the consumer's event is on its way.

        ASGI servers should raise ``OSError``; Daphne raises autobahn's ``Disconnected``.
        """
        logger.debug("A client disconnected before a frame could be sent: %r", error)
        self._clear()

    def _clear(self) -> None:
        self._backlog = None

    def _queue(self) -> Backlog:
        if self._backlog is None:
            self._backlog = Backlog(self.max_frames, self.max_bytes)
        return self._backlog

    def _enqueue(self, event: Event, sender: str | None) -> None:
        try:
            self._queue().add(event, sender)
        except ShareExceeded:
            if monotonic() - self._progress_at >= self.stall_seconds:
                raise Overflow from None
            raise

    async def _write(self, first: Awaitable[None]) -> None:
        try:
            await first
            while self._backlog:
                self._progress_at = monotonic()
                await self._send(self._backlog.pop())
        except Exception as error:
            self._disconnected(error)
        finally:
            self._writer = self._backlog = None


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
