"""WebSocket clients of the whole ASGI application, in process."""

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
from tests.patience import PATIENCE

PATH = "/ws/signalling/"
Frame = dict[str, Any]


class AppSocket:
    """A ``WebsocketCommunicator`` with the methods of ``signalling.testing``.

    Every method that receives looks at the very next frame, so a test must receive all frames.
    """

    def __init__(
        self,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        address: str = "192.0.2.1",
        app: Any = application,
    ) -> None:
        pairs = [(key.encode(), value.encode("latin-1")) for key, value in (headers or {}).items()]
        self.communicator = WebsocketCommunicator(app, PATH + query, headers=pairs)
        self.scope: dict[str, Any] = self.communicator.scope
        self.scope["client"] = (address, 50_000)
        self.peer_id = ""
        self._last_id = 0

    # --- The connection -----------------------------------------------------------------------

    async def connect(self) -> str | None:
        """Open the socket; return the subprotocol that the server chose."""
        is_accepted, detail = await self.communicator.connect(PATIENCE)
        assert is_accepted, f"the handshake was refused: {detail}"
        subprotocol: str | None = detail
        return subprotocol

    async def is_denied(self) -> bool:
        """Return whether the application denies the handshake."""
        is_accepted, _ = await self.communicator.connect(PATIENCE)
        return not is_accepted

    async def disconnect(self, code: int = 1000) -> None:
        """Close the socket from the client's side; return when the application has cleaned up."""
        await self.communicator.send_input({"type": "websocket.disconnect", "code": code})
        await self.communicator.wait(PATIENCE)

    async def cancel(self) -> None:
        """Cancel the application, as a server does at its shutdown."""
        self.communicator.future.cancel()
        await asyncio.wait([self.communicator.future], timeout=PATIENCE)

    # --- Send ---------------------------------------------------------------------------------

    async def send(self, event: str, data: object = None, **frame: object) -> None:
        """Send an event. ``frame`` has further keys of the frame, such as ``id``."""
        await self.send_raw(json.dumps({"event": event, "data": data, **frame}))

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a text or binary frame unchanged."""
        key = "text" if isinstance(frame, str) else "bytes"
        await self.communicator.send_input({"type": "websocket.receive", key: frame})

    async def request(self, event: str, data: object = None) -> Frame:
        """Send an event with an id; return its answer without the id. It must be the next frame."""
        self._last_id += 1
        await self.send(event, data, id=self._last_id)
        answer = await self.receive_frame()
        assert answer.pop("id", None) == self._last_id, answer
        return answer

    async def join(self, code: str = "ABC123", **options: object) -> Any:
        """Join a room; return the data of ``room:joined``."""
        answer = await self.request("join:room", {"roomCode": code, **options})
        assert answer["event"] == "room:joined", answer
        self.peer_id = answer["data"]["peerId"]
        return answer["data"]

    # --- Receive ------------------------------------------------------------------------------

    async def receive_frame(self) -> Frame:
        """Return the next frame."""
        message = await self.communicator.receive_output(PATIENCE)
        assert message["type"] == "websocket.send", message
        frame: Frame = json.loads(message["text"])
        return frame

    async def receive(self, event: str) -> Any:
        """Return the data of the next frame, which must be this event without an id."""
        frame = await self.receive_frame()
        assert frame["event"] == event, frame
        assert "id" not in frame, frame
        return frame["data"]

    async def receive_error(self, code: str) -> Any:
        """Return the data of the next frame, which must be an ``error`` with this code."""
        frame = await self.receive_frame()
        assert frame["event"] == "error", frame
        assert frame["data"]["code"] == code, frame
        return frame["data"]

    async def receive_nothing(self) -> None:
        """Make sure that no frame has been sent to this socket, and that none is about to be.

        The server reads its two queues in turn, the client's and the channel layer's. After some
        pings it has also handled the messages that were in the channel layer before the first one.
        """
        for _ in range(4):
            assert await self.request("ping") == {"event": "pong", "data": {}}

    async def receive_close(self) -> int:
        """Return the close code. The next message must be the server's close."""
        message = await self.communicator.receive_output(PATIENCE)
        assert message["type"] == "websocket.close", message
        return int(message["code"])


async def open_socket(user: User, **options: Any) -> AppSocket:
    """Return an open socket that is authenticated as ``user``."""
    headers = {"authorization": f"Bearer {access_token(user)}", **options.pop("headers", {})}
    socket = AppSocket(headers=headers, **options)
    await socket.connect()
    return socket


@asynccontextmanager
async def connected(user: User, **options: Any) -> AsyncIterator[AppSocket]:
    """Yield an open socket of ``user``; disconnect it at the end."""
    socket = await open_socket(user, **options)
    try:
        yield socket
    finally:
        await socket.disconnect()


@asynccontextmanager
async def in_room(
    *users: User, code: str = "ABC123", **options: object
) -> AsyncIterator[list[AppSocket]]:
    """Yield one socket for each user, all in one room; announcements have been received."""
    sockets: list[AppSocket] = []
    try:
        for user in users:
            socket = await open_socket(user)
            await socket.join(code, **options)
            for other in sockets:
                assert (await other.receive("peer:joined"))["peerId"] == socket.peer_id
            sockets.append(socket)
        yield sockets
    finally:
        for socket in sockets:
            await socket.disconnect()
