"""What a socket says, and no: answers, errors, closes; and the tasks and timers that may say them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from rooms.exceptions import RoomError
from signalling import metrics, protocol
from signalling.protocol import CloseCode, ProtocolError, Request, RequestId, ServerEvent, errors
from signalling.transport.consumer import BoundedConsumer
from signalling.transport.send_queue import Overflow
from signalling.transport.tasks import spawn
from signalling.transport.timers import Timers

logger = logging.getLogger("signalling")


class SpeakingConsumer(BoundedConsumer):
    """A socket that speaks the protocol. Subclasses write ``lost``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_closing = False
        self._closed_with: CloseCode | None = None
        self._request_id: RequestId | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers = Timers(self._on_time)

    def lost(self) -> None:
        """The socket takes nothing more: it was closed from this side."""
        raise NotImplementedError

    async def answer(self, event: ServerEvent) -> None:
        request_id, self._request_id = self._request_id, None
        self.write(protocol.encode(event, request_id))

    def write(self, frame: str) -> None:
        """Send a frame, or queue it; a client that does not keep up loses its socket."""
        if not self.is_closing:
            self.send_queue.put({"type": "websocket.send", "text": frame})

    def refuse(self, error: ProtocolError, request: Request | None = None) -> None:
        """Answer with an ``error`` event, and close the socket where the refusal costs it."""
        self._say_no(error, request.event.event if request else None)

    def interrupt(self, error: ProtocolError) -> None:
        """Say an ``error`` that answers nothing: a request that is being handled keeps its ``id``."""
        self._write_error(error, None, None)

    def _say_no(self, error: ProtocolError, request_event: str | None) -> None:
        request_id, self._request_id = self._request_id, None
        self._write_error(error, request_event, request_id)

    def _write_error(
        self, error: ProtocolError, request_event: str | None, request_id: RequestId | None
    ) -> None:
        metrics.errors[str(error.code)] += 1
        self.write(protocol.encode(protocol.error_event(error, request_event), request_id))
        if error.close is not None:
            self._close(error.close)

    def _say(self, error: ProtocolError) -> None:
        """``interrupt`` from elsewhere than this socket's own turn."""
        try:
            self.interrupt(error)
        except Overflow:
            self.overflowed()

    def _close(self, code: CloseCode) -> None:
        if not self.is_closing:
            self.is_closing = True
            self._closed_with = code
            metrics.closes[int(code)] += 1
            # No reason: Daphne drops it, and the event before says it.
            close = {"type": "websocket.close", "code": int(code)}
            try:
                self.send_queue.put(close)
            except Overflow:
                self.send_queue.put_last(close)
            self.lost()

    def overflowed(self) -> None:
        """Drop what waits, say why, leave the room now, and give the close frame a little time."""
        if self.is_closing:
            return
        self.is_closing = True
        self._closed_with = CloseCode.TOO_SLOW
        metrics.totals["overflows"] += 1
        metrics.closes[int(CloseCode.TOO_SLOW)] += 1
        why = protocol.encode(protocol.error_event(errors.too_slow()))
        self.send_queue.put_last(
            {"type": "websocket.send", "text": why},
            {"type": "websocket.close", "code": int(CloseCode.TOO_SLOW)},
        )
        self.lost()
        self.abandon()

    def delivery_failed(self, message_type: str) -> None:
        self.interrupt(self._internal(message_type, close=CloseCode.INTERNAL))

    def _internal(self, doing: str, close: CloseCode | None = None) -> ProtocolError:
        reference = secrets.token_hex(6)
        logger.exception("internal error %s while handling %s", reference, doing)
        return errors.internal(reference, close=close)

    def _on_time(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Overflow:
            self.overflowed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        spawn(work, self._tasks)


def from_domain(error: RoomError) -> ProtocolError:
    """Return the ``ProtocolError`` for a refusal by ``rooms``; both use the same codes."""
    refusal = ProtocolError(error.code, str(error))
    refusal.details = dict(error.details)
    return refusal
