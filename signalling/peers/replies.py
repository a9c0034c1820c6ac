"""Answers, errors and closes of one socket."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable

from rooms.exceptions import RoomError
from rooms.logs import RareTracebacks
from signalling import metrics, protocol
from signalling.database import DATABASE_UNAVAILABLE, RowLocked
from signalling.protocol import (
    CloseCode,
    ProtocolError,
    Request,
    RequestId,
    ServerEvent,
    errors,
)
from signalling.transport.send_queue import Overflow, SendQueue

logger = logging.getLogger("signalling")

tracebacks = RareTracebacks()


class Replies:
    """Writes frames to one socket and closes it.

    ``on_close`` is called when the socket is closed from this side; ``abandon`` ends the
    application of a client that does not even read the close frame.
    """

    def __init__(
        self,
        send_queue: SendQueue,
        *,
        on_close: Callable[[], None],
        abandon: Callable[[], None],
    ) -> None:
        self.request_id: RequestId | None = None
        """The id of the request that is being handled, until it is answered."""
        self.is_closing = False
        self.closed_with: CloseCode | None = None
        self._send_queue = send_queue
        self._on_close = on_close
        self._abandon = abandon

    def answer(self, event: ServerEvent) -> None:
        """Answer the request that is being handled."""
        self.write(protocol.encode(event, self._take_request_id()))

    def write(self, frame: str, user: str | None = None) -> None:
        """Send or queue a frame. Raises ``Overflow`` if the client reads too slowly.

        ``user``: the sender of a relay. Raises ``ShareExceeded`` if too much of it waits already.
        """
        if not self.is_closing:
            self._send_queue.put({"type": "websocket.send", "text": frame}, user)

    def push(self, frame: str) -> None:
        """Like ``write``, from outside the socket's task. An overflow closes the socket."""
        try:
            self.write(frame)
        except Overflow:
            self.close_too_slow()

    def reply_error(self, error: ProtocolError, request_event: str | None = None) -> None:
        """Answer the request that is being handled with ``error``."""
        self._write_error(error, request_event, self._take_request_id())

    def refuse(
        self, error: Exception, frame: str | bytes, request: Request | None, max_bytes: int
    ) -> None:
        """Answer a request that has raised ``error``. Call it from the exception's handler.

        Without a ``request``, the frame was over a rate limit and not decoded.
        """
        if request is None:
            self.request_id = protocol.identify(frame[:max_bytes])[0]
        event = request.event.event if request else None
        self.reply_error(to_protocol_error(error, event or "frame"), event)

    def send_error(self, error: ProtocolError) -> None:
        """Send an ``error`` that answers no request."""
        self._write_error(error, None, None)

    def push_error(self, error: ProtocolError) -> None:
        """Like ``send_error``, from outside the socket's task. An overflow closes the socket."""
        try:
            self.send_error(error)
        except Overflow:
            self.close_too_slow()

    def stop(self) -> None:
        """Drop everything that is written from now on: the client has disconnected."""
        self.is_closing = True

    def close(self, code: CloseCode) -> None:
        """Close the socket after the frames that are queued."""
        if self.is_closing:
            return
        self._mark_closed(code)
        # No close reason: Daphne drops it, and the error event before it has the details.
        close = {"type": "websocket.close", "code": int(code)}
        try:
            self._send_queue.put(close)
        except Overflow:
            self._send_queue.put_last(close)
        self._on_close()

    def close_too_slow(self) -> None:
        """Drop the queued frames and close a socket whose client reads too slowly."""
        if self.is_closing:
            return
        self._mark_closed(CloseCode.TOO_SLOW)
        metrics.totals["overflows"] += 1
        reason = protocol.encode(protocol.error_event(errors.too_slow()))
        self._send_queue.put_last(
            {"type": "websocket.send", "text": reason},
            {"type": "websocket.close", "code": int(CloseCode.TOO_SLOW)},
        )
        self._on_close()
        self._abandon()

    def _mark_closed(self, code: CloseCode) -> None:
        self.is_closing = True
        self.closed_with = code
        metrics.closes[int(code)] += 1

    def _take_request_id(self) -> RequestId | None:
        request_id, self.request_id = self.request_id, None
        return request_id

    def _write_error(
        self, error: ProtocolError, request_event: str | None, request_id: RequestId | None
    ) -> None:
        metrics.errors[str(error.code)] += 1
        self.write(protocol.encode(protocol.error_event(error, request_event), request_id))
        if error.close is not None:
            self.close(error.close)


def to_protocol_error(error: Exception, activity: str) -> ProtocolError:
    """Return the error to send for an exception that was raised by ``activity``.

    Call it from the exception's handler: an unexpected exception is logged with its traceback.
    """
    if isinstance(error, ProtocolError):
        return error
    if isinstance(error, RoomError):
        return from_domain(error)
    if isinstance(error, DATABASE_UNAVAILABLE):
        problem = "Row locked" if isinstance(error, RowLocked) else "Database unavailable"
        logger.warning("%s, request refused: %s", problem, error)
        return errors.unavailable()
    return internal_error(activity)


def from_domain(error: RoomError) -> ProtocolError:
    """Return the ``ProtocolError`` for a refusal by ``rooms``. Both use the same codes."""
    refusal = ProtocolError(error.code, str(error))
    refusal.details = dict(error.details)
    return refusal


def internal_error(activity: str, close: CloseCode | None = None) -> ProtocolError:
    """Log the exception that is being handled; return the error that refers to its log line.

    The line has a traceback, unless one from the same place was logged within the last minute.
    """
    reference, error = secrets.token_hex(6), sys.exception()
    if tracebacks.is_due(error):
        logger.exception("Internal error %s while handling %s", reference, activity)
    else:
        again = type(error).__name__
        logger.error("Internal error %s while handling %s: %s again", reference, activity, again)
    return errors.internal(reference, close=close)
