"""HTTP requests of Daphne with limits: the time, the size and the number of what a client sends.

Twisted limits the head of a request, and answers each violation with 400. It stores a body of any
size in a temporary file, and its only deadline starts again with each byte.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from daphne.http_protocol import WebRequest
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.web import http

from .heads import refused_status
from .limits import limits, refusal

DECODED_HEADERS = ["Sec-WebSocket-Protocol", "Daphne-Root-Path"]
"""Headers that Daphne decodes, with a traceback and a 500 for characters that are not ASCII."""


def is_plain(transport: Any) -> bool:
    """Return whether a transport is a TCP or Unix socket without TLS."""
    return isinstance(transport, Connection) and not transport.TLS


def close_after(connection: object, transport: Any, data: bytes = b"") -> None:
    """Send ``data`` and close, without losing it because the client is still sending.

    To close a socket with unread data resets the connection, and the client may never see what was
    sent. So only the sending direction is closed. The caller ignores what it still receives, until
    the client closes the connection too, or ``CLOSE_SECONDS`` are over.
    """
    limits().closes.start(connection, transport.abortConnection)
    transport.write(data)
    if is_plain(transport):
        transport.loseWriteConnection()
        transport.resumeProducing()
    else:
        transport.loseConnection()


class BoundedRequest(WebRequest):
    """A request with a limited body, and a 400 for headers that Daphne could not decode."""

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        if self.channel.is_refused:
            return
        if self.content.tell() + len(data) > limits().body_bytes:
            self.channel.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            super().handleContentChunk(data)

    def process(self) -> Any:
        if self._can_be_decoded():
            self._combine_cookies()
            return super().process()
        self.basic_error(400, b"Bad Request", "Invalid header value")
        return None

    def _combine_cookies(self) -> None:
        """Combine several lines of cookies into one (RFC 9113, section 8.2.3).

        For a handshake, Daphne combines the lines of a header with commas, which are part of cookies.
        """
        cookies = self.requestHeaders.getRawHeaders(b"cookie", [])
        if len(cookies) > 1:
            self.requestHeaders.setRawHeaders(b"cookie", [b"; ".join(cookies)])

    def _can_be_decoded(self) -> bool:
        server, headers = self.server, self.requestHeaders
        names = [
            *DECODED_HEADERS,
            server.proxy_forwarded_address_header,
            server.proxy_forwarded_port_header,
            server.proxy_forwarded_proto_header,
        ]
        return all(
            value.isascii()
            for name in names
            if name
            for value in headers.getRawHeaders(name.encode(), [])  # with a str it would decode them
        )


class BoundedChannel(http.HTTPChannel):
    """An HTTP/1.1 connection with deadlines and limits."""

    is_refused = False
    """Whether the connection is about to close, and all further data is ignored."""
    has_received = False

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        self.requestFactory = BoundedRequest  # Daphne's factory has set its own
        self.maxHeaders = limits().headers
        self.totalHeadersSize = self.MAX_LENGTH = limits().head_bytes
        limits().heads.start(self, self.expire)

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802
        self._stop_deadlines()
        limits().closes.done(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.is_refused:
            return
        self.has_received = True
        self._start_deadline()
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        if not self.is_refused:
            self._start_deadline()  # for a request that was sent before the response to another
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self.is_refused:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def allHeadersReceived(self) -> None:  # noqa: N802
        limits().heads.done(self)
        if self.length is not None and self.length > limits().body_bytes:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        values = self.requests[-1].requestHeaders.getRawHeaders
        status = refused_status(values(b"content-type", []), values(b"cookie", []))
        if status is not None:
            self.refuse(status)
            return
        super().allHeadersReceived()
        if self.length != 0:
            limits().bodies.start(self, self.expire)

    def allContentReceived(self) -> None:  # noqa: N802
        limits().bodies.done(self)
        if not self.is_refused:
            super().allContentReceived()

    def refuse(self, status: HTTPStatus) -> None:
        """Answer the current request with a status and close the connection."""
        if not self.is_refused:
            self.is_refused = True
            self._stop_deadlines()
            self.setTimeout(None)
            self.clearLineBuffer()
            close_after(self, self.transport, refusal(status))

    def expire(self) -> None:
        """End a connection whose request has not arrived completely in time."""
        if self.has_received:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802
        is_too_large = (
            self._receivedHeaderSize > self.totalHeadersSize
            or self._receivedHeaderCount > self.maxHeaders
        )
        self.refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_large else HTTPStatus.BAD_REQUEST
        )

    def _start_deadline(self) -> None:
        """Start the deadline for a request, unless one is being received or handled."""
        waits = self in limits().heads or self in limits().bodies
        if not waits and not self._handlingRequest:
            limits().heads.start(self, self.expire)

    def _stop_deadlines(self) -> None:
        limits().heads.done(self)
        limits().bodies.done(self)


def bounded_channel() -> Any:
    """Return the protocol of a new connection: it switches to HTTP/2 if TLS has negotiated that."""
    return http._GenericHTTPChannelProtocol(BoundedChannel())
