"""uvicorn for signalling: ``python -m signalling.servers.uvicorn``, with the options of ``uvicorn``.

Nearly every frame of signalling is a short text that arrives whole in one read. Such a frame needs none of
the generality of a WebSocket parser, so ``--ws websockets-sansio`` is answered here by a subclass that
reads and writes it directly, and leaves everything else to the library: fragments, control frames, what is
malformed, a frame that came in two reads. The defaults are those of signalling: frames of 64 KiB, and no
compression (SDP is small, and a bomb has nothing to inflate). ``uvicorn`` itself serves as well, slower.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from uvicorn.config import WS_PROTOCOLS
from uvicorn.main import main
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import OPEN

try:
    from websockets.speedups import apply_mask
except ImportError:  # the wheel was built without its C extension
    from websockets.utils import apply_mask

from signalling.worker.gc import cycles

from .receive_queue import ReceiveQueue

FINAL_TEXT = 0x81  # FIN, no reserved bit, opcode 1: RFC 6455, 5.2
MASKED = 0x80
CLOSE_SECONDS = 3.0
FRAMES_WAITING = 16  # frames that wait for a busy consumer before its client is stopped
DEFAULTS = ["--ws", "websockets-sansio", "--ws-max-size", "65536"]
DEFAULTS += ["--ws-per-message-deflate", "false", "--lifespan", "off"]
DEFAULTS += ["--timeout-graceful-shutdown", "10"]


class SignallingProtocol(WebSocketsSansIOProtocol):
    """``websockets-sansio`` with a short way in and out for whole text frames."""

    rest: int | None = None
    """Bytes that the library's parser still waits for of the frame that it is in. 0: it is between two
    frames, so a whole one may pass it by. None: that cannot be known."""

    def connection_made(self, transport: Any) -> None:
        self.queue = ReceiveQueue()  # type: ignore[assignment]
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        text = self._whole_text(data) if self.rest == 0 else None
        if text is None:
            self.rest = self._rest_after(data)
            super().data_received(data)
            return
        self.queue.put_nowait({"type": "websocket.receive", "text": text})
        if not self.read_paused and self.queue.qsize() >= FRAMES_WAITING:
            self.read_paused = True
            self.transport.pause_reading()

    def _whole_text(self, data: bytes) -> str | None:
        """Return the text of ``data`` where that is one whole text frame, and nothing else may be meant."""
        if len(data) < 6 or data[0] != FINAL_TEXT or not data[1] & MASKED:
            return None
        start, length = _span(data)
        if start is None or len(data) != start + length or length > self.config.ws_max_size:
            return None
        if self.conn.state is not OPEN or self.frames or self.close_sent:
            return None
        try:
            return apply_mask(data[start:], data[start - 4 : start]).decode()
        except UnicodeDecodeError:  # 1007, which the library says
            return None

    def _rest_after(self, data: bytes) -> int | None:
        if not self.handshake_initiated:
            return 0 if data.endswith(b"\r\n\r\n") else None
        position = self.rest
        while position is not None and position < len(data):
            start, length = _span(data[position : position + 14])
            position = None if start is None else position + start + length  # None: cut in a header
        return None if position is None else position - len(data)

    def shutdown(self) -> None:
        """Have the sockets of signalling closed with 4503, which clients understand; others with 1012."""
        from signalling.worker import (
            process,  # which has models: they are there since the application is
        )

        draining = process.get_worker().begin_drain()
        self.tasks.add(draining)  # what the server waits for
        draining.add_done_callback(self.tasks.discard)
        if self.close_sent:  # which the client may answer, for a while
            self.loop.call_later(CLOSE_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def on_task_complete(self, task: Any) -> None:
        """Do not wait for a client that does not read, once its application has ended."""
        super().on_task_complete(task)
        if not self.writable.is_set():
            self.transport.abort()

    async def send(self, message: Any) -> None:
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
            return
        payload = text.encode()
        self.transport.write(_header(len(payload)) + payload)


def _span(data: bytes) -> tuple[int | None, int]:
    """Return where a frame's payload begins, and its length; no beginning where the header is cut."""
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
    """Return the header of an unmasked, final text frame (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((FINAL_TEXT, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2)
    return b"\x81\x7f" + length.to_bytes(8)


def _stopped(*_: Any) -> None:
    """uvicorn raises the signal again that has stopped it; who stopped as asked has succeeded."""
    sys.exit(0)


if __name__ in {"__main__", "__mp_main__"}:  # the latter is what a worker of --workers begins with
    WS_PROTOCOLS["websockets-sansio"] = "signalling.servers.uvicorn:SignallingProtocol"

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stopped)
    sys.argv[1:1] = DEFAULTS
    cycles.collect_rarely()
    main()
