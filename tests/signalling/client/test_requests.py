"""Requests, events and closing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signalling.client import (
    ClientClosed,
    ConnectionLost,
    RequestRefused,
    State,
)
from tests.signalling.client.server import (
    CANDIDATE,
    Make,
    Server,
    bound,
    joined,
    long_delay,
    soon,
    wait_for_state,
)

# --- Requests and events ----------------------------------------------------------------------


async def test_each_request_gets_its_own_answer(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    first = asyncio.create_task(client.request("peer:update", {"displayName": "A"}))
    second = asyncio.create_task(client.relay("peer_2", "candidate", None))
    asked = [await accepted.receive("peer:update"), await accepted.receive("webrtc:ice")]
    assert asked[0]["data"] == {"displayName": "A"}
    assert asked[1]["data"] == {"targetPeerId": "peer_2", "candidate": None}
    await accepted.refuse(asked[1], "peer_not_found")
    await accepted.send("ack", {"n": 1}, id=asked[0]["id"])
    assert await soon(first) == {"n": 1}
    with pytest.raises(RequestRefused, match="peer_not_found"):
        await soon(second)


@pytest.mark.parametrize(
    ("what", "event"),
    [("offer", "webrtc:offer"), ("answer", "webrtc:answer"), ("candidate", "webrtc:ice")],
)
async def test_relays_have_the_shape_of_the_protocol(
    server: Server, make: Make, what: Any, event: str
) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    relaying = asyncio.create_task(client.relay("peer_2", what, {"x": 1}))
    frame = await accepted.receive(event)
    assert frame["data"] == {"targetPeerId": "peer_2", what: {"x": 1}}
    await accepted.send("ack", {}, id=frame["id"])
    await soon(relaying)


async def test_an_interrupted_request_raises_connection_lost(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    asking = asyncio.create_task(client.request("peer:update"))
    await accepted.receive("peer:update")
    await accepted.close(1006)
    with pytest.raises(ConnectionLost):
        await soon(asking)
    await (await server.accept()).accept_resume()
    await wait_for_state(client, State.CONNECTED)


async def test_requests_wait_until_the_client_has_rejoined(server: Server, make: Make) -> None:
    client = make(server.url, delays=long_delay)
    await (await joined(server, client)).close(1006)
    await wait_for_state(client, State.RECONNECTING)
    asking = asyncio.create_task(client.request("peer:update"))
    sending = asyncio.create_task(client.send("webrtc:ice", CANDIDATE))
    cancelled = asyncio.create_task(client.request("ping"))
    await asyncio.sleep(0)
    cancelled.cancel()
    client.wake()
    accepted = await server.accept()
    await accepted.accept_resume()
    request = await accepted.receive("peer:update")
    assert await accepted.receive("webrtc:ice") == {"event": "webrtc:ice", "data": CANDIDATE}
    await accepted.send("ack", {}, id=request["id"])
    await soon(asyncio.gather(asking, sending))


async def test_the_answer_to_a_cancelled_request_is_not_an_event(
    server: Server, make: Make
) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    asking = asyncio.create_task(client.request("peer:update"))
    frame = await accepted.receive("peer:update")
    asking.cancel()
    await accepted.send("ack", {}, id=frame["id"])
    await accepted.send("error", {"code": "unavailable", "targetPeerId": "peer_2"})
    assert await soon(anext(client)) == (
        "error",
        {"code": "unavailable", "targetPeerId": "peer_2"},
    )


async def test_too_many_unread_events_close_the_client(server: Server, make: Make) -> None:
    client = make(server.url, max_events=3)
    accepted = await joined(server, client)
    for _ in range(4):
        await accepted.send("webrtc:ice", CANDIDATE)
    assert await accepted.wait_closed() == 1000
    assert [await soon(anext(client)) for _ in range(3)] == [("webrtc:ice", CANDIDATE)] * 3
    with pytest.raises(ClientClosed, match="3 events"):
        await soon(anext(client))


# --- Closing ----------------------------------------------------------------------------------


async def test_close_sends_1000_and_ends_the_iteration(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    relaying = asyncio.create_task(client.relay("peer_2", "candidate", None))
    relay = await accepted.receive("webrtc:ice")
    await accepted.send("webrtc:ice", CANDIDATE)
    await accepted.send("ack", {}, id=relay["id"])
    await soon(relaying)  # so the events before it have arrived as well
    asking = asyncio.create_task(client.request("peer:update"))
    await accepted.receive("peer:update")
    await soon(client.close())
    assert await accepted.wait_closed() == 1000
    assert [event async for event in client] == [("webrtc:ice", CANDIDATE)]
    assert [event async for event in client] == []
    with pytest.raises(ConnectionLost):
        await soon(asking)
    with pytest.raises(ClientClosed):
        await client.request("ping")
    await client.close()
    assert client.state == State.CLOSED


async def test_close_ends_a_wait(server: Server, make: Make) -> None:
    client = make(server.url, delays=long_delay)
    await (await joined(server, client)).close(1006)
    await wait_for_state(client, State.RECONNECTING)
    asking = asyncio.create_task(client.request("ping"))
    await asyncio.sleep(0)
    await soon(client.close())
    with pytest.raises(ClientClosed):
        await soon(asking)


async def test_close_ends_a_pending_handshake(make: Make) -> None:
    with bound() as listener:
        listener.listen()
        client = make(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.connect()
        assert client.state == State.CLOSED
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, "a task is running"


async def test_an_error_in_on_state_is_raised(server: Server, make: Make) -> None:
    def fail(state: State) -> None:
        if state == State.RECONNECTING:
            raise ZeroDivisionError

    client = make(server.url, on_state=fail)
    await (await joined(server, client)).close(1006)
    with pytest.raises(ZeroDivisionError):
        await soon(anext(client))
