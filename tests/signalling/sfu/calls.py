"""People in a room that goes through LiveKit, and what they hear of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from livekit import api

from tests.signalling.sfu.livekit_server import KEY, SECRET, LiveKitServer
from tests.signalling.sockets import Socket, connected

NAME = "room_abc123"


class Person(NamedTuple):
    """A socket in the room, and the way that it was told first."""

    socket: Socket
    way: dict[str, Any]

    @property
    def peer_id(self) -> str:
        return self.socket.peer_id

    @property
    def token(self) -> str:
        return str(self.way["token"])


async def receive(socket: Socket, event: str, **data: object) -> Any:
    """Return the data of the first frame that is this event with this data, whatever comes before."""
    while True:
        frame = await socket.next()
        if frame["event"] == event and data.items() <= frame["data"].items():
            return frame["data"]


async def eventually(check: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def identity(way: dict[str, Any]) -> str:
    """Return whom a token lets in; it must be for the room of these tests."""
    claims = api.TokenVerifier(KEY, SECRET).verify(way["token"])
    assert claims.video is not None
    assert claims.video.room == NAME
    return claims.identity


@asynccontextmanager
async def call(*users: User) -> AsyncIterator[list[Person]]:
    """Give people in a room for whom a mesh is too small by the last one."""
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(user)) for user in users]
        joined = [await socket.join() for socket in sockets]
        ways = [(await receive(socket, "room:mode", mode="sfu"))["sfu"] for socket in sockets[:-1]]
        ways.append(joined[-1]["sfu"])
        yield [Person(*pair) for pair in zip(sockets, ways, strict=True)]


async def commit(server: LiveKitServer, people: list[Person]) -> None:
    """Have all be in LiveKit, and say so."""
    for person in people:
        assert server.connect(person.token)
        await person.socket.send("sfu:state", {"version": 1, "state": "receiving"})
    for person in people:
        await receive(person.socket, "room:mode", reason="committed")
