"""One exchange with a server on a bare TCP connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.integration.servers import Site
from tests.integration.wire import CLOSE, handshake, server_frames


@dataclass
class Answer:
    """What a server sent until the end of a connection, and the seconds until that end.

    ``ended``: the server closed the connection; otherwise the client got tired of waiting.
    ``was_reset``: it was reset, so the client may not have received everything.
    """

    data: bytes
    seconds: float
    ended: bool
    was_reset: bool

    @property
    def status(self) -> int:
        """The HTTP status, 0 without a response."""
        return int(self.data.split()[1]) if self.data else 0

    @property
    def close_code(self) -> int | None:
        """The code of the close frame: 1005 if it has none, ``None`` without a close frame."""
        for opcode, payload in server_frames(bytearray(self.data)):
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005
        return None


async def exchange(
    site: Site, *pieces: bytes, every: float = 0.0, is_socket: bool = False, within: float = 10.0
) -> Answer:
    """Send pieces to the first worker, ``every`` seconds, and read until the server closes.

    The client goes on sending and reading at the same time, as browsers do. ``is_socket``: open a
    WebSocket first.
    """
    reader, writer = await asyncio.open_connection(site.worker.host, site.worker.port)
    if is_socket:
        writer.write(handshake(site))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    received = bytearray()
    started = time.monotonic()
    sending = asyncio.create_task(_send(writer, pieces, every))
    ended = was_reset = False
    try:
        async with asyncio.timeout(within):
            while piece := await reader.read(65_536):
                received += piece
        ended = True
    except ConnectionError:
        ended = was_reset = True
    except TimeoutError:
        pass
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        writer.transport.abort()
    return Answer(bytes(received), time.monotonic() - started, ended, was_reset)


async def _send(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...], every: float) -> None:
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every)


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return an HTTP/1.1 request. ``line``: method and target, such as ``"GET /login/"``."""
    head = "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers])
    return head.encode("latin-1") + b"\r\n\r\n" + body
