"""Joining and rejoining a room."""

from __future__ import annotations

import asyncio
import time

import pytest

from signalling.client import (
    ClientClosed,
    RequestRefused,
    State,
)
from tests.signalling.client.server import (
    ROOM,
    Make,
    Server,
    connected,
    joined,
    soon,
)


async def test_join_is_resumable(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    assert await accepted.accept_join(peers=[{"id": "peer_2"}]) == {
        "roomCode": "ABC123",
        "resumable": True,
    }
    room = await soon(joining)
    assert room == client.room == {**ROOM, "peers": [{"id": "peer_2"}]}
    await accepted.send("peer:joined", {"peerId": "peer_3"})
    assert (await soon(anext(client))).name == "peer:joined", "room:joined was returned by join"


async def test_a_refused_join_does_not_change_the_client(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("NONE"))
    await accepted.refuse(await accepted.receive("join:room"), "room_full", limit=10)
    with pytest.raises(RequestRefused) as refused:
        await soon(joining)
    assert (refused.value.code, refused.value.details["limit"]) == ("room_full", 10)
    assert (client.state, client.room, client.peer_id) == (State.CONNECTED, None, "")
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.accept_join()
    await soon(joining)


async def test_an_interrupted_join_is_repeated(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.receive("join:room")
    await accepted.close(1006)
    await (await server.accept()).accept_join()
    assert await soon(joining) == ROOM


@pytest.mark.parametrize("code", ["unavailable", "rate_limited"])
async def test_a_join_waits_for_retry_after(server: Server, make: Make, code: str) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    join = await accepted.receive("join:room")
    began = time.monotonic()
    await accepted.refuse(join, code, retryAfter=0.3)
    client.wake()
    await accepted.accept_join(resumeToken="one")
    assert time.monotonic() - began >= 0.3
    await soon(joining)

    await accepted.close(4503)
    accepted = await server.accept()
    join = await accepted.receive("join:room")
    began = time.monotonic()
    await accepted.refuse(join, code, retryAfter=0.3)
    assert (await accepted.accept_resume())["resumeToken"] == "one"
    assert time.monotonic() - began >= 0.3
    assert client.attempts == 2


async def test_a_waiting_join_continues_on_another_connection(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.refuse(await accepted.receive("join:room"), "unavailable", retryAfter=0.1)
    await accepted.close(4503)
    await (await server.accept()).accept_join()
    assert await soon(joining) == ROOM


@pytest.mark.parametrize("code", ["resume_expired", "resume_invalid"])
async def test_a_client_that_cannot_resume_joins_again(
    server: Server, make: Make, code: str
) -> None:
    client = make(server.url)
    await (await joined(server, client)).close(1006)
    accepted = await server.accept()
    await accepted.refuse(await accepted.receive("join:room"), code)
    assert await accepted.accept_join(peerId="peer_9", resumeToken="two") == {
        "roomCode": "abc123",
        "resumable": True,
    }
    event, room = await soon(anext(client))
    assert (event, room["resumed"], client.peer_id) == ("room:joined", False, "peer_9")
    assert (client.reconnects, client.resumes) == (1, 0)
    await accepted.close(1006)
    assert (await (await server.accept()).accept_resume())["resumeToken"] == "two"


async def test_without_a_resume_token_the_client_joins_again(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.accept_join()
    await soon(joining)
    await accepted.close(1006)
    accepted = await server.accept()
    assert await accepted.accept_join(peerId="peer_9") == {"roomCode": "abc123", "resumable": True}
    assert (await soon(anext(client))).data["peerId"] == "peer_9"


@pytest.mark.parametrize("code", ["removed", "room_closed", "room_full", "forbidden"])
async def test_a_refused_rejoin_closes_the_client_with_its_cause(
    server: Server, make: Make, code: str
) -> None:
    client = make(server.url)
    await (await joined(server, client)).close(1006)
    accepted = await server.accept()
    await accepted.refuse(await accepted.receive("join:room"), code)
    with pytest.raises(ClientClosed, match=code) as closed:
        await soon(anext(client))
    assert isinstance(closed.value.__cause__, RequestRefused)
    assert closed.value.__cause__.code == code
    assert await accepted.wait_closed() == 1000
    assert client.attempts == 2


async def test_after_leave_the_client_reconnects_outside_the_room(
    server: Server, make: Make
) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    leaving = asyncio.create_task(client.leave())
    await accepted.send("ack", {}, id=(await accepted.receive("leave:room"))["id"])
    await soon(leaving)
    assert (client.room, client.peer_id) == (None, "")
    await accepted.close(1006)
    accepted = await server.accept()
    await soon(client.send("ping"))
    await accepted.receive("ping")
