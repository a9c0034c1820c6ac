"""Clients in a room that uses LiveKit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from livekit import api

from tests.patience import PATIENCE
from tests.signalling.sfu.livekit_server import KEY, SECRET, LiveKitServer
from tests.signalling.sockets import AppSocket, connected

NAME = "room_abc123"


class Client(NamedTuple):
    """A socket in the room, and the first ``sfu`` that it received."""

    socket: AppSocket
    sfu: dict[str, Any]

    @property
    def peer_id(self) -> str:
        return self.socket.peer_id

    @property
    def token(self) -> str:
        return str(self.sfu["token"])


async def receive(socket: AppSocket, event: str, **data: object) -> Any:
    """Return the data of the first frame with this event and data. Skip the frames before it."""
    while True:
        frame = await socket.receive_frame()
        if frame["event"] == event and data.items() <= frame["data"].items():
            return frame["data"]


async def wait_until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def identity(sfu: dict[str, Any]) -> str:
    """Return the identity in a token, which must be for the room of these tests."""
    claims = api.TokenVerifier(KEY, SECRET).verify(sfu["token"])
    assert claims.video is not None
    assert claims.video.room == NAME
    return claims.identity


@asynccontextmanager
async def join_all(*users: User) -> AsyncIterator[list[Client]]:
    """Join users to a room whose mesh is too small for the last of them."""
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(user)) for user in users]
        joined = [await socket.join() for socket in sockets]
        sfus = [(await receive(socket, "room:mode", mode="sfu"))["sfu"] for socket in sockets[:-1]]
        sfus.append(joined[-1]["sfu"])
        yield [Client(*pair) for pair in zip(sockets, sfus, strict=True)]


async def commit_switch(server: LiveKitServer, clients: list[Client]) -> None:
    """Connect all clients to LiveKit and report that they receive through it."""
    for client in clients:
        assert server.connect(client.token)
        await client.socket.send("sfu:state", {"version": 1, "state": "receiving"})
    for client in clients:
        await receive(client.socket, "room:mode", reason="committed")
