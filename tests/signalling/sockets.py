"""An in-process client that speaks the protocol to the whole ASGI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User

from signalling_project.asgi import application
from tests.conftest import access_token

PATH = "/ws/signalling/"
Frame = dict[str, Any]
WAIT = 10  # seconds for each expected event: generous, because test machines may be busy


class Socket:
    """One socket. Its frames are read in order, one at a time."""

    def __init__(
        self,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        address: str = "192.0.2.1",
        app: Any = application,
    ) -> None:
        pairs = [(key.encode(), value.encode("latin-1")) for key, value in (headers or {}).items()]
        self._wire = WebsocketCommunicator(app, PATH + query, headers=pairs)
        self.scope: dict[str, Any] = self._wire.scope
        self.scope["client"] = (address, 50_000)
        self.peer_id = ""
        self._ids = 0

    async def open(self) -> str | None:
        """Open the socket and return the subprotocol that the server selected."""
        is_accepted, detail = await self._wire.connect(WAIT)
        assert is_accepted, f"the handshake was rejected: {detail}"
        subprotocol: str | None = detail
        return subprotocol

    async def is_denied(self) -> bool:
        """Open the socket and return whether the handshake was rejected."""
        is_accepted, _ = await self._wire.connect(WAIT)
        return not is_accepted

    async def send(self, event: str, data: object = None, **frame: object) -> None:
        await self.send_text(json.dumps({"event": event, "data": data, **frame}))

    async def send_text(self, text: str) -> None:
        await self._wire.send_input({"type": "websocket.receive", "text": text})

    async def send_bytes(self, frame: bytes) -> None:
        await self._wire.send_input({"type": "websocket.receive", "bytes": frame})

    async def next(self) -> Frame:
        """Return the next frame."""
        message = await self._wire.receive_output(WAIT)
        assert message["type"] == "websocket.send", message
        frame: Frame = json.loads(message["text"])
        return frame

    async def expect(self, event: str) -> Any:
        """Return the data of the next frame, which must be this event and not an answer."""
        frame = await self.next()
        assert frame["event"] == event, frame
        assert "id" not in frame, frame
        return frame["data"]

    async def receive_error(self) -> str:
        """Return the code of the next frame, which must be an error."""
        frame = await self.next()
        assert frame["event"] == "error", frame
        return str(frame["data"]["code"])

    async def ask(self, event: str, data: object = None) -> Frame:
        """Send a request with an id and return its answer, which must be the next frame."""
        self._ids += 1
        await self.send(event, data, id=self._ids)
        answer = await self.next()
        assert answer.pop("id", None) == self._ids, answer
        return answer

    async def receive_nothing(self) -> None:
        """Assert that no frame has arrived, and none is on its way.

        Several pings, because the server reads the client's and the channel layer's queue in turn.
        """
        for _ in range(4):
            assert await self.ask("ping") == {"event": "pong", "data": {}}

    async def closed(self) -> int:
        """Return the close code of the next event, which must be a close."""
        message = await self._wire.receive_output(WAIT)
        assert message["type"] == "websocket.close", message
        return int(message["code"])

    async def join(self, code: str = "ABC123", **options: object) -> Any:
        answer = await self.ask("join:room", {"roomCode": code, **options})
        assert answer["event"] == "room:joined", answer
        self.peer_id = answer["data"]["peerId"]
        return answer["data"]

    async def disconnect(self, code: int = 1000) -> None:
        """Disconnect, and wait until the consumer has ended."""
        await self._wire.send_input({"type": "websocket.disconnect", "code": code})
        await self._wire.wait(WAIT)

    async def wait_closed(self) -> None:
        """Wait until the consumer has ended after the server closed the socket."""
        await self._wire.wait(WAIT)

    async def cut(self) -> None:
        """Cancel the application, like a server that stops."""
        self._wire.future.cancel()
        await asyncio.wait([self._wire.future], timeout=WAIT)


@asynccontextmanager
async def connected(user: User, **options: Any) -> AsyncIterator[Socket]:
    """Yield an open socket of a user; disconnect it afterwards."""
    headers = {"authorization": f"Bearer {access_token(user)}", **options.pop("headers", {})}
    socket = Socket(headers=headers, **options)
    await socket.open()
    try:
        yield socket
    finally:
        await socket.disconnect()


@asynccontextmanager
async def in_room(
    *users: User, code: str = "ABC123", **options: object
) -> AsyncIterator[list[Socket]]:
    """Yield sockets in one room that have read the announcements of each other."""
    sockets: list[Socket] = []
    try:
        for user in users:
            socket = Socket(headers={"authorization": f"Bearer {access_token(user)}"})
            await socket.open()
            await socket.join(code, **options)
            for other in sockets:
                assert (await other.expect("peer:joined"))["peerId"] == socket.peer_id
            sockets.append(socket)
        yield sockets
    finally:
        for socket in sockets:
            await socket.disconnect()
