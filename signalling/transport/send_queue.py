"""What is on its way to one client: in order, bounded, and nobody waits for it but its own writer."""

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


_NOTHING: deque[Event] = deque(maxlen=0)


class Overflow(Exception):
    """The client reads more slowly than it is written to, and its bound is reached."""


class SendQueue:
    """The outbound queue of a socket.

    ``put`` steps the server's ``send`` at once: a server whose buffer has room completes without
    suspending, and then no task and no queue is needed. Where it suspends, the half-run ``send`` is
    handed to a writer task, and what comes meanwhile waits behind it. So order holds over both ways.
    """

    __slots__ = ("_queue", "_send", "_size", "_writer", "is_gone", "max_bytes", "max_frames")

    def __init__(self, send: Send, max_frames: int, max_bytes: int) -> None:
        self._send: Callable[[Event], Coroutine[Any, Any, None]] = send  # type: ignore[assignment]
        self._queue: deque[Event] = (
            _NOTHING  # most sockets never queue, and a deque takes 600 bytes
        )
        self._size = 0
        self._writer: asyncio.Task[None] | None = None
        self.max_frames = max_frames
        self.max_bytes = max_bytes
        self.is_gone = False

    def put(self, event: Event) -> None:
        """Send an ASGI event, or queue it. Raises ``Overflow``, and then has queued nothing."""
        if self._writer is not None:
            self._enqueue(event)
            return
        sending = self._send(event)
        try:
            awaited = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._lost(error)
            return
        self._writer = asyncio.get_running_loop().create_task(self._write(_go_on(sending, awaited)))

    def put_last(self, *events: Event) -> None:
        """Send these after what is being written now, and instead of all that waits."""
        self._clear()
        for event in events:
            if self._writer is None:
                self.put(event)
            else:
                self._append(event)

    async def drained(self) -> None:
        """Wait until everything is with the server."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])

    def cancel(self) -> None:
        """Forget what waits."""
        self._clear()
        if self._writer is not None:
            self._writer.cancel()

    @property
    def waiting(self) -> int:
        """Frames that wait for the client."""
        return len(self._queue)

    def _lost(self, error: Exception) -> None:
        """A send after the disconnect, which is on its way to the consumer. ASGI wants an ``OSError`` of
        it; Daphne lets autobahn's ``Disconnected`` through."""
        logger.debug("a client was gone before a frame could be sent: %r", error)
        self.is_gone = True
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
        if self._queue is _NOTHING:
            self._queue = deque()
        self._queue.append(event)

    async def _write(self, begun: Awaitable[None]) -> None:
        try:
            await begun
            while self._queue:
                event = self._queue.popleft()
                self._size = max(0, self._size - _size(event))
                await self._send(event)
        except Exception as error:
            self._lost(error)
        finally:
            self._writer = None


@types.coroutine
def _go_on(sending: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Run a coroutine to its end that was stepped once and waits for ``awaited``."""
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
