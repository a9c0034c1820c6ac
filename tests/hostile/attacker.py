"""A client on a bare TCP connection."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import Any, Self

from tests.integration.servers import Site
from tests.integration.wire import CLOSE, TEXT, client_frame, handshake, server_frames


class Attacker:
    """Sends any bytes to the first worker of a site, and counts what is answered.

    ``token``: in the ``Authorization`` header, by default that of the user ``username``; ``None``
    for none. ``address``: the local address, such as the fixture ``address``.
    """

    def __init__(
        self,
        site: Site,
        username: str = "mallory",
        *,
        token: str | None = "",
        headers: tuple[str, ...] = (),
        target: str = "",
        address: str | None = None,
    ) -> None:
        self.site = site
        self.address = address
        self.status = 0
        """The status of the response to the handshake; 101 for success."""
        self.events: Counter[str] = Counter()
        """How often each event was received."""
        self.errors: Counter[str] = Counter()
        """How often each code of an ``error`` event was received."""
        self.close_code: int | None = None
        """The code of the close frame, 1006 if the connection ended without one, ``None`` before."""
        self.peer_ids: set[str] = set()
        """The ids of the peers that the socket has been."""
        self.answered: set[Any] = set()
        """The ids of the requests that were answered."""
        token = site.token(username) if token == "" else token
        self._handshake = handshake(site, token, *headers, target=target)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.connect()
        await self.write(self._handshake)
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.status = int(head.split()[1])
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.transport.abort()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def connect(self) -> None:
        """Connect without a handshake."""
        local = (self.address, 0) if self.address is not None else None
        self._reader, self._writer = await asyncio.open_connection(
            self.site.worker.host, self.site.worker.port, local_addr=local
        )

    @property
    def reader(self) -> asyncio.StreamReader:
        assert self._reader is not None, "not connected"
        return self._reader

    @property
    def writer(self) -> asyncio.StreamWriter:
        assert self._writer is not None, "not connected"
        return self._writer

    async def write(self, data: bytes) -> None:
        """Send bytes. Does nothing once the server has ended the connection."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def send(self, event: str, data: dict[str, Any] | None = None, **rest: Any) -> None:
        """Send an event."""
        text = json.dumps({"event": event, "data": data or {}, **rest})
        await self.write(client_frame(text.encode()))

    async def join(self, room: str) -> None:
        await self.send("join:room", {"roomCode": room})
        await self.received("room:joined")

    async def answers(self, count: int, *, within: float = 30.0) -> None:
        """Wait until at least ``count`` events have been received, or the end of the connection."""
        await self._wait(lambda: self.events.total() >= count, within, f"{count} answers")

    async def received(self, event: str, *, within: float = 10.0) -> None:
        """Wait until an event has been received, or the end of the connection."""
        await self._wait(lambda: self.events[event] > 0, within, event)

    async def answer_to(self, request_id: str | int, *, within: float = 10.0) -> None:
        """Wait for the answer to a request with an ``id``, or the end of the connection."""
        await self._wait(lambda: request_id in self.answered, within, f"answer to {request_id}")

    async def closed(self, *, within: float = 10.0) -> int:
        """Wait for a close frame, or the end of the connection, and return ``close_code``."""
        await self._wait(lambda: False, within, "a close")
        assert self.close_code is not None
        return self.close_code

    async def _wait(self, check: Any, within: float, what: str) -> None:
        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(lambda: self.close_code is not None or check())
        except TimeoutError:
            raise AssertionError(f"no {what} within {within} s: {self.events}") from None

    async def _read(self) -> None:
        buffer = bytearray()
        code = 1006
        with suppress(ConnectionError):
            while code == 1006 and (received := await self.reader.read(262_144)):
                buffer += received
                for opcode, payload in server_frames(buffer):
                    if opcode == TEXT:
                        self._note(json.loads(payload))
                    elif opcode == CLOSE:
                        code = int.from_bytes(payload[:2], "big") if payload else 1005
                async with self._changed:
                    self._changed.notify_all()
        async with self._changed:
            self.close_code = code
            self._changed.notify_all()

    def _note(self, frame: dict[str, Any]) -> None:
        self.events[frame["event"]] += 1
        if "id" in frame:
            self.answered.add(frame["id"])
        if frame["event"] == "error":
            self.errors[frame["data"]["code"]] += 1
        elif frame["event"] == "room:joined":
            self.peer_ids.add(frame["data"]["peerId"])
