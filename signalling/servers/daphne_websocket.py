"""WebSockets of Daphne with flow control, limits and exact close codes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from daphne.ws_protocol import WebSocketProtocol

from signalling.throttling.buckets import TokenBucket

from .backpressure import limit_unsent
from .daphne_http import close_after, is_plain
from .limits import CONTROL_BURST, CONTROL_RATE, PIECE_BYTES, limits

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

FRAMES_WAITING = 64  # for a busy consumer, before reading pauses
CONTINUATION = 0  # opcode: RFC 6455, section 5.2


class WriteFlowControl:
    """Follows the state of the transport's write buffer (Twisted's ``IPushProducer``)."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.can_write = asyncio.Event()
        self.can_write.set()

    def pauseProducing(self) -> None:  # noqa: N802
        self.can_write.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self.can_write.set()
        if self.transport.disconnecting or self.transport._writeDisconnecting:
            self.transport.startWriting()  # otherwise a pending close would never finish

    def stopProducing(self) -> None:  # noqa: N802
        self.can_write.set()


def _is_buffering(transport: Any) -> bool:
    """Return whether a transport has unsent data, or cannot be written to."""
    return bool(
        transport.dataBuffer
        or transport._tempDataLen
        or transport.disconnecting
        or not transport.connected
    )


class BoundedProtocol(WebSocketProtocol):
    """A WebSocket with flow control in both directions."""

    is_paused = False
    is_plain = False
    is_reading_close = False
    fragments = 0

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        limit_unsent(self.transport.getHandle())
        # The HTTP channel of the handshake is still registered.
        self.transport.unregisterProducer()
        self.control_frames = TokenBucket(CONTROL_RATE, CONTROL_BURST)
        self.flow_control = WriteFlowControl(self.transport)
        self.is_plain = is_plain(self.transport)
        self.transport.registerProducer(self.flow_control, True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Parse ``data`` up to the first violation.

        autobahn copies the rest of its buffer for each frame, so it gets a large read in pieces.
        Its own method formats a debug message for each read, whatever the log level.
        """
        for start in range(0, len(data), PIECE_BYTES):
            if self.failedByMe:
                return
            self._dataReceived(data[start : start + PIECE_BYTES])
            if self.failedByMe:
                close_after(self, self.transport)

    def sendData(  # noqa: N802
        self, data: bytes, sync: bool = False, chopsize: int | None = None
    ) -> None:
        """Write immediately if nothing is buffered: this saves a turn of the reactor per frame."""
        transport = self.transport
        if self.is_plain and not sync and not self.send_queue and not _is_buffering(transport):
            written = transport.writeSomeData(data)
            if not isinstance(written, int):  # connection lost; super().sendData handles it
                written = 0
            data = data[written:]
        if data:
            super().sendData(data, sync, chopsize)

    def onMessageFrameBegin(self, length: int) -> None:  # noqa: N802
        self.fragments = self.fragments + 1 if self.current_frame.opcode == CONTINUATION else 1
        super().onMessageFrameBegin(length)
        if self.fragments > limits().fragments and not self.failedByMe:
            self._max_message_size_exceeded(length, 0, "too many fragments")

    def onPing(self, payload: bytes) -> None:  # noqa: N802
        self._count_control_frame()
        super().onPing(payload)

    def onPong(self, payload: bytes) -> None:  # noqa: N802
        self._count_control_frame()

    def _count_control_frame(self) -> None:
        if self.control_frames.take() and not self.failedByMe:
            self._fail_connection(
                self.CLOSE_STATUS_CODE_POLICY_VIOLATION, "too many control frames"
            )

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:  # noqa: N802, N803
        self.is_reading_close = True
        stops: bool | None = super().onCloseFrame(code, reasonRaw)
        self.is_reading_close = False
        return stops

    def dropConnection(self, abort: bool = False) -> None:  # noqa: N802
        """Close the connection, after what was sent if the client has sent a close frame.

        autobahn takes an invalid close frame for the reply to its own 1002, and would abort.
        """
        super().dropConnection(abort and not self.is_reading_close)
        limits().closes.start(self, self.transport.abortConnection)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        super().onMessage(payload, isBinary)
        if not self.is_paused and self.application_queue.qsize() >= FRAMES_WAITING:
            self.is_paused = True
            self.transport.pauseProducing()

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N802, N803
        limits().closes.done(self)
        self.flow_control.stopProducing()
        super().onClose(wasClean, code, reason)

    def application_ended(self) -> None:
        """Abort the connection if the client does not read: it would stay open forever."""
        if not self.flow_control.can_write.is_set():
            self.transport.abortConnection()

    def wrap(self, send: Send) -> tuple[Receive, Send]:
        """Return ``receive`` and ``send`` of the application, with flow control."""
        self.receive_queue: asyncio.Queue[Event] = asyncio.Queue()

        async def bounded_receive() -> Event:
            event = await self.receive_queue.get()
            if self.is_paused and self.application_queue.qsize() <= FRAMES_WAITING // 2:
                self.is_paused = False
                self.transport.resumeProducing()
            return event

        async def bounded_send(event: Event) -> None:
            if event["type"] == "websocket.send" and not self.flow_control.can_write.is_set():
                await self.flow_control.can_write.wait()
            await send(event)

        return bounded_receive, bounded_send
