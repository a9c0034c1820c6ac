"""A client of the socket, in the words of the protocol; the server is the whole ASGI application."""

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
WAIT = 10  # seconds for what must come: a busy machine is slow, and a bug waits longer


class Socket:
    """One socket; every frame that comes must be read before it is closed, or is not asked about."""

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
        """Open it; return the subprotocol that the server chose."""
        is_accepted, detail = await self._wire.connect(WAIT)
        assert is_accepted, f"the handshake was refused: {detail}"
        subprotocol: str | None = detail
        return subprotocol

    async def is_denied(self) -> bool:
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
        """Return the data of the next frame, which must be this event and no answer to a request."""
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
        """Send a request with an id; return its answer, which must be the next frame."""
        self._ids += 1
        await self.send(event, data, id=self._ids)
        answer = await self.next()
        assert answer.pop("id", None) == self._ids, answer
        return answer

    async def receive_nothing(self) -> None:
        """Wait until all it asked for is done. Nothing else may have come, nor be on its way here.

        The server looks into both its queues, the client's and the channel layer's, at each turn.
        """
        for _ in range(4):
            assert await self.ask("ping") == {"event": "pong", "data": {}}

    async def closed(self) -> int:
        """Return the code with which the server closes the socket now."""
        message = await self._wire.receive_output(WAIT)
        assert message["type"] == "websocket.close", message
        return int(message["code"])

    async def join(self, code: str = "ABC123", **options: object) -> Any:
        answer = await self.ask("join:room", {"roomCode": code, **options})
        assert answer["event"] == "room:joined", answer
        self.peer_id = answer["data"]["peerId"]
        return answer["data"]

    async def disconnect(self, code: int = 1000) -> None:
        """Go, and wait until the server has cleaned up."""
        await self._wire.send_input({"type": "websocket.disconnect", "code": code})
        await self._wire.wait(WAIT)

    async def wait_closed(self) -> None:
        """Wait until the server has cleaned up after a socket that ends by itself."""
        await self._wire.wait(WAIT)

    async def cut(self) -> None:
        """Cancel the application, as a server that stops does."""
        self._wire.future.cancel()
        await asyncio.wait([self._wire.future], timeout=WAIT)


@asynccontextmanager
async def connected(user: User, **options: Any) -> AsyncIterator[Socket]:
    """Give an open socket of a user, who hangs up afterwards."""
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
    """Give sockets that are in one room, and have read the announcements of each other."""
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
