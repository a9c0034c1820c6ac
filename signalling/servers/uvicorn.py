"""uvicorn with a fast path: ``python -m signalling.servers.uvicorn``, with uvicorn's options.

Nearly every frame of signalling is a short text that arrives in a single read, and does not need a
full WebSocket parser. Here ``--ws websockets-sansio`` selects a subclass that reads and writes such
frames directly. Everything else is left to the library: fragments, control frames, malformed
frames, and frames that arrive in several reads. What a client may send is limited: see ``limits``.

The defaults suit signalling: frames of at most 64 KiB, and no compression, since SDP is small and
compressed frames could be decompression bombs. Plain ``uvicorn`` works as well, but is slower.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from http import HTTPStatus
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from . import packages

if __name__ == "__main__":
    packages.require("uvicorn", "uvicorn", "httptools", "websockets")

from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS
from uvicorn.main import main
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.protocol import OPEN

try:
    from websockets.speedups import apply_mask
except ImportError:  # websockets was built without its C extension
    from websockets.utils import apply_mask

from signalling.servers.backpressure import limit_unsent
from signalling.throttling.buckets import TokenBucket
from signalling.worker.gc import cycles

from . import descriptors, uvicorn_http
from .limits import CONTROL_BURST, CONTROL_RATE, PIECE_BYTES, limits, refusal
from .proxies import check_options
from .redaction import redact_logs
from .uvicorn_http import close_after
from .uvicorn_shutdown import GRACEFUL_SECONDS, bound_shutdown

FINAL_TEXT = 0x81  # FIN, no reserved bit, opcode 1: RFC 6455, section 5.2
MASKED = 0x80
CLOSE_SECONDS = 3.0
FRAMES_WAITING = 16  # for a busy consumer, before reading pauses
DEFAULTS = ["--ws", "websockets-sansio", "--ws-max-size", "65536"]
DEFAULTS += ["--ws-per-message-deflate", "false", "--lifespan", "off"]
DEFAULTS += ["--timeout-graceful-shutdown", str(GRACEFUL_SECONDS)]
DEFAULTS += ["--no-proxy-headers"]  # TRUSTED_PROXIES decides: see rooms.addresses
LOGGERS = ["uvicorn.access", "uvicorn.asgi", "uvicorn.error"]


class SignallingProtocol(WebSocketsSansIOProtocol):
    """``websockets-sansio`` with a fast path for complete text frames."""

    rest: int | None = None
    """Bytes that the library's parser needs to complete its current frame.

    0: it is between two frames, so a complete frame may bypass it. None: unknown.
    """

    is_refused = False
    """Whether the connection is about to close, and all further data is ignored."""
    violation: tuple[CloseCode, str] | None = None
    """A limit that the client has exceeded: the close code and the reason."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.control_frames = TokenBucket(CONTROL_RATE, CONTROL_BURST)
        # With --log-level debug, the library logs the handshake with its credentials, and frames.
        self.conn.debug = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio turns Nagle's algorithm off, but takes the listener of --fd for a Unix socket.
        with suppress(OSError):  # it is one
            transport.get_extra_info("socket").setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        limit_unsent(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        text = self._whole_text(data) if self.rest == 0 else None
        if text is None:
            self._parse(data)
            return
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        if not self.read_paused and self.queue.qsize() >= FRAMES_WAITING:
            self.read_paused = True
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        limits().accepts.done(self)
        limits().closes.done(self)
        super().connection_lost(exc)

    # --- The library's parser -------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        """Let the library parse ``data``, in pieces, and stop at the first violation."""
        for start in range(0, len(data), PIECE_BYTES):
            if self.is_refused:
                return
            piece = data[start : start + PIECE_BYTES]
            self.rest = self._rest_after(piece)
            super().data_received(piece)
            if self.violation is not None and not self.is_refused:
                self._fail(*self.violation)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # The library could not parse the handshake. It leaves it to its caller to say so.
            self.is_refused = True
            response = b"".join(self.conn.data_to_send()) or refusal(HTTPStatus.BAD_REQUEST)
            close_after(self, self.transport, response)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:  # the library has not refused it
            limits().accepts.start(self, self._expire)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < limits().fragments:
            super().handle_cont(event)
        else:
            self.violation = CloseCode.MESSAGE_TOO_BIG, "too many fragments"

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:  # uvicorn would log a traceback
                self._fail(CloseCode.INVALID_DATA, "invalid UTF-8")
                return
        super().send_receive_event_to_app()

    def handle_pong(self, event: Frame) -> None:
        self._count_control_frame()
        super().handle_pong(event)

    def handle_ping(self) -> None:
        self._count_control_frame()
        if not self.is_refused:
            super().handle_ping()

    def _count_control_frame(self) -> None:
        if self.control_frames.take():
            self.violation = CloseCode.POLICY_VIOLATION, "too many control frames"

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Close after a violation of the protocol, so that the client receives the close code."""
        close = self.conn.close_sent
        assert close is not None
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": close.code, "reason": close.reason}
        )
        self.close_sent = self.disconnected = self.is_refused = True
        if self.close_timer is not None:
            self.close_timer.cancel()
        # ``run_asgi`` closes the connection at once unless this timer is running.
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
        close_after(self, self.transport, b"".join(self.conn.data_to_send()))

    def _expire(self) -> None:
        """Refuse a handshake that the application has neither accepted nor rejected."""
        if not self.handshake_complete:
            self.transport.write(refusal(HTTPStatus.SERVICE_UNAVAILABLE))
            self.transport.close()

    # --- The fast path --------------------------------------------------------------------------

    def _whole_text(self, data: bytes) -> str | None:
        """Return the text of ``data`` if it is exactly one complete text frame, else ``None``."""
        if len(data) < 6 or data[0] != FINAL_TEXT or not data[1] & MASKED:
            return None
        start, length = _span(data)
        if start is None or len(data) != start + length or length > self.config.ws_max_size:
            return None
        if self.conn.state is not OPEN or self.frames or self.close_sent:
            return None
        try:
            return apply_mask(data[start:], data[start - 4 : start]).decode()
        except UnicodeDecodeError:  # the library closes with 1007
            return None

    def _rest_after(self, data: bytes) -> int | None:
        """Return the new value of ``rest`` after the library's parser has read ``data``."""
        if not self.handshake_initiated:
            return 0 if data.endswith(b"\r\n\r\n") else None
        position = self.rest
        while position is not None and position < len(data):
            start, length = _span(data[position : position + 14])
            position = (
                None if start is None else position + start + length
            )  # None: the header is incomplete
        return None if position is None else position - len(data)

    def shutdown(self) -> None:
        """Drain the sockets of signalling (close code 4503); close others with 1012."""
        # Imported late: needs the app registry, which the application has set up by now.
        from signalling.worker import process

        draining = process.get_worker().begin_drain()
        self.tasks.add(draining)  # the server waits for these
        draining.add_done_callback(self.tasks.discard)
        if self.close_sent:  # give the client time to answer
            self.loop.call_later(CLOSE_SECONDS, self._close_or_abort)
        else:
            super().shutdown()

    def _close_or_abort(self) -> None:
        """Close the connection, without waiting for a client that does not read."""
        if self.writable.is_set():
            self.transport.close()
        else:
            self.transport.abort()

    def on_task_complete(self, task: Any) -> None:
        """Abort the connection if the client does not read once its application has ended."""
        super().on_task_complete(task)
        if not self.writable.is_set():
            self.transport.abort()
        elif self.transport.get_write_buffer_size():
            limits().closes.start(self, self.transport.abort)

    async def send(self, message: Any) -> None:
        """Write a text frame directly if nothing is buffered and no extension is in use."""
        text = message.get("text")
        if (
            text is None
            or message["type"] != "websocket.send"
            or not self.writable.is_set()
            or self.disconnected
            or self.close_sent
            or not self.handshake_complete
            or self.conn.state is not OPEN
            or self.conn.extensions
        ):
            await super().send(message)
            if self.handshake_complete:
                limits().accepts.done(self)
            return
        payload = text.encode()
        self.transport.write(_header(len(payload)) + payload)


def _span(data: bytes) -> tuple[int | None, int]:
    """Return start and length of a frame's payload; ``None``, 0 if the header is incomplete."""
    if len(data) < 2:
        return None, 0
    length = data[1] & 0x7F
    start = 2 + (4 if data[1] & MASKED else 0)
    if length == 126:
        start += 2
        length = int.from_bytes(data[2:4])
    elif length == 127:
        start += 8
        length = int.from_bytes(data[2:10])
    return (start, length) if len(data) >= start else (None, 0)


def _header(length: int) -> bytes:
    """Return the header of an unmasked, final text frame (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((FINAL_TEXT, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2)
    return b"\x81\x7f" + length.to_bytes(8)


def _exit(*_: Any) -> None:
    """Exit with 0 after a requested stop: uvicorn raises the signal again once it has stopped."""
    sys.exit(0)


if __name__ in {"__main__", "__mp_main__"}:  # "__mp_main__" in the processes of --workers
    WS_PROTOCOLS["websockets-sansio"] = "signalling.servers.uvicorn:SignallingProtocol"
    uvicorn_http.install(HTTP_PROTOCOLS)
    redact_logs(LOGGERS)
    bound_shutdown()

if __name__ == "__main__":
    check_options(sys.argv)
    signal.signal(signal.SIGTERM, _exit)
    sys.argv[1:1] = DEFAULTS
    cycles.collect_rarely()
    descriptors.raise_limit()  # the processes of --workers inherit it
    main()
