"""A WebSocket server whose answers each test gives itself."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import websockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from signalling.client import (
    ResumingClient,
    State,
)
from tests.patience import PATIENCE

HOUR = 3600.0
ROOM = {"roomId": "room_abc123", "peerId": "peer_1", "peers": [], "resumed": False}
CANDIDATE = {"targetPeerId": "peer_1", "candidate": "c", "fromPeerId": "peer_2"}


def no_delay(failures: int) -> float:
    return 0.0


def long_delay(failures: int) -> float:
    return HOUR


class Accepted:
    """One accepted connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        assert connection.request is not None
        self.token = connection.request.headers.get("Authorization", "").removeprefix("Bearer ")

    async def receive(self, event: str) -> dict[str, Any]:
        """Return the next frame, which must be this event."""
        async with asyncio.timeout(PATIENCE):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
        assert frame["event"] == event, frame
        return frame

    async def send(self, event: str, data: dict[str, Any], **envelope: Any) -> None:
        await self.connection.send(json.dumps({"event": event, "data": data, **envelope}))

    async def refuse(self, request: dict[str, Any], code: str, **details: Any) -> None:
        error = {"code": code, "message": "", "event": request["event"], **details}
        await self.send("error", error, id=request["id"])

    async def accept_join(self, **room: Any) -> dict[str, Any]:
        """Answer a ``join:room`` and return its data."""
        join = await self.receive("join:room")
        await self.send("room:joined", {**ROOM, **room}, id=join["id"])
        data: dict[str, Any] = join["data"]
        return data

    async def accept_resume(self, **room: Any) -> dict[str, Any]:
        return await self.accept_join(resumed=True, **room)

    async def answer_pings(self) -> None:
        while True:
            ping = await self.receive("ping")
            await self.send("pong", {}, **({"id": ping["id"]} if "id" in ping else {}))

    async def close(self, code: int) -> None:
        if code == 1006:
            self.connection.transport.abort()
            await self.connection.wait_closed()
        else:
            await self.connection.close(code)

    async def wait_closed(self) -> int | None:
        """Wait for the end of the connection and return the client's close code."""
        async with asyncio.timeout(PATIENCE):
            await self.connection.wait_closed()
        return self.connection.close_code


class Server:
    """A server that accepts all clients; the test answers them."""

    def __init__(self, listener: socket.socket | None = None) -> None:
        self._listener = listener or bound()
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.statuses: list[HTTPStatus] = []
        """The responses that reject the next handshakes."""
        self._accepted: asyncio.Queue[Accepted] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        self._server = await serve(
            self._accept,
            sock=self._listener,
            process_request=self._refuse,
            subprotocols=[websockets.Subprotocol("signalling.v1")],
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(self.statuses.pop(0), "") if self.statuses else None

    async def _accept(self, connection: ServerConnection) -> None:
        self._accepted.put_nowait(Accepted(connection))
        await connection.wait_closed()

    async def accept(self) -> Accepted:
        """Wait for the next connection and return it."""
        async with asyncio.timeout(PATIENCE):
            return await self._accepted.get()

    @property
    def has_no_client(self) -> bool:
        return self._accepted.empty()


def bound() -> socket.socket:
    """Return a bound socket. It refuses connections until it listens."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


Make = Callable[..., ResumingClient]


async def connected(server: Server, client: ResumingClient) -> Accepted:
    await soon(client.connect())
    return await server.accept()


async def joined(server: Server, client: ResumingClient, **room: Any) -> Accepted:
    """Connect and join; the resume token is ``one``."""
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.accept_join(resumeToken="one", **room)
    await soon(joining)
    return accepted


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def wait_for_state(client: ResumingClient, state: State) -> None:
    async with asyncio.timeout(PATIENCE):
        while client.state != state:  # noqa: ASYNC110 - the client has a single on_state
            await asyncio.sleep(0.001)
