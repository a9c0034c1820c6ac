"""HTTP requests of uvicorn with limits: the time, the size and the number of what a client sends.

uvicorn has no option for any of them with ``httptools``. Its parser buffers a head of any size, and
a connection that never completes its request stays open.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .heads import refused_status
from .limits import limits, refusal


def close_after(connection: object, transport: asyncio.Transport, data: bytes) -> None:
    """Send ``data`` and close, without losing it because the client is still sending.

    To close a socket with unread data resets the connection, and the client may never see what was
    sent. So only the sending direction is closed. The caller ignores what it still receives, until
    the client closes the connection too, or ``CLOSE_SECONDS`` are over.
    """
    limits().closes.start(connection, transport.abort)
    if transport.is_closing():
        return
    transport.write(data)
    if transport.can_write_eof():
        transport.write_eof()
        transport.resume_reading()
    else:  # TLS
        transport.close()


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with deadlines and limits."""

    is_refused = False
    """Whether the connection is about to close, and all further data is ignored."""
    is_in_head = True
    """Whether the head of the current request is incomplete."""
    head_bytes = 0
    body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        limits().heads.start(self, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadlines()
        limits().closes.done(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        request = self.scope
        super().data_received(data)
        if self.is_in_head and self.scope is request and not self.is_refused:
            self.head_bytes += len(data)  # httptools buffers a header until it is complete
            if self.head_bytes > limits().head_bytes:
                self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def handle_websocket_upgrade(self) -> None:
        self._stop_deadlines()
        if not self.is_refused:
            super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        if not self.is_refused:
            self.refuse(HTTPStatus.BAD_REQUEST)

    def refuse(self, status: HTTPStatus) -> None:
        """Answer the current request with a status and close the connection."""
        self.is_refused = True
        self._stop_deadlines()
        cycle = self.cycle
        is_running = cycle is not None and not cycle.response_complete
        if self.pipeline or (is_running and (self.is_in_head or cycle.response_started)):
            self.transport.abort()  # another response is being written
            return
        if is_running:
            cycle.disconnected = True  # the application receives "http.disconnect"
            cycle.message_event.set()
        is_answered = not self.is_in_head and cycle is not None and cycle.response_started
        close_after(self, self.transport, b"" if is_answered else refusal(status))

    # --- Callbacks of the parser ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.is_in_head = True
        self.head_bytes = self.body_bytes = 0
        if self not in limits().heads:  # the next request of a persistent connection
            limits().heads.start(self, self._expire)

    def on_headers_complete(self) -> None:
        if self.is_refused:
            return
        limits().heads.done(self)
        status = self._refused_status()
        if status is not None:
            self.refuse(status)
            return
        self.is_in_head = False
        super().on_headers_complete()
        limits().bodies.start(self, self._expire)

    def on_body(self, body: bytes) -> None:
        if self.is_refused:
            return
        self.body_bytes += len(body)
        if self.body_bytes > limits().body_bytes:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        limits().bodies.done(self)
        if not self.is_refused:
            super().on_message_complete()

    def _refused_status(self) -> HTTPStatus | None:
        """Return the status with which the head of this request is refused, ``None`` if it is not."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > limits().head_bytes or len(self.headers) > limits().headers:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        for name, value in self.headers:
            if name == b"content-length" and int(value) > limits().body_bytes:
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return refused_status(*map(self._values, (b"content-type", b"cookie")))

    def _values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.headers if each == name]

    # --- Deadlines ------------------------------------------------------------------------------

    def _expire(self) -> None:
        """End a connection whose request has not arrived completely in time."""
        if self.flow.read_paused:  # the server has stopped reading; the client is not to blame
            waiting = limits().heads if self.is_in_head else limits().bodies
            waiting.start(self, self._expire)
        elif self.scope is None:  # nothing has arrived, so there is nothing to answer
            self.transport.close()
        else:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _stop_deadlines(self) -> None:
        limits().heads.done(self)
        limits().bodies.done(self)


def install(protocols: dict[str, Any]) -> None:
    """Replace uvicorn's default protocol for HTTP."""
    for name in ("auto", "httptools"):
        protocols[name] = f"{__name__}:{BoundedHttpProtocol.__name__}"
