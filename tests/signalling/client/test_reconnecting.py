"""Reconnecting: delays, close codes and the heartbeat."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from http import HTTPStatus
from itertools import count

import pytest

from signalling.client import (
    ClientClosed,
    ConnectionLost,
    Event,
    ResumingClient,
    State,
)
from signalling.client.backoff import reconnect_delay
from signalling.client.connection import Connection, open_socket
from tests.signalling.client.server import (
    CANDIDATE,
    HOUR,
    ROOM,
    Make,
    Server,
    joined,
    long_delay,
    soon,
    wait_for_state,
)

# --- Delays -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"),
    [
        (0, 0, 1),
        (1, 0.5, 1.5),
        (2, 1, 3),
        (3, 2, 6),
        (4, 3.5, 10.5),
        (5, 3.5, 10.5),
        (99, 3.5, 10.5),
    ],
)
def test_the_delays_are_those_of_the_protocol(
    failures: int, shortest: float, longest: float
) -> None:
    random.seed(failures)
    waits = [reconnect_delay(failures) for _ in range(2000)]
    span = longest - shortest
    assert shortest <= min(waits) < shortest + span / 50
    assert longest - span / 50 < max(waits) <= longest


async def test_delays_grow_until_the_server_works_again(server: Server, make: Make) -> None:
    failures_seen: list[int] = []

    def delays(failures: int) -> float:
        failures_seen.append(failures)
        return 0.0

    client = make(server.url, delays=delays)
    accepted = await joined(server, client)
    server.statuses += [HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE]
    await accepted.close(1012)
    draining = await server.accept()
    await draining.send("error", {"code": "unavailable", "message": "", "retryAfter": HOUR})
    await draining.close(4503)
    accepted = await server.accept()
    assert failures_seen == [0, 1, 2, 3]
    await accepted.accept_resume()
    await wait_for_state(client, State.CONNECTED)
    await accepted.close(1012)
    await server.accept()
    assert failures_seen == [0, 1, 2, 3, 0]


async def test_wake_ends_the_wait(server: Server, make: Make) -> None:
    client = make(server.url, delays=long_delay)
    accepted = await joined(server, client)
    client.wake()  # no effect while connected, nor later
    await accepted.close(1006)
    await wait_for_state(client, State.RECONNECTING)
    await asyncio.sleep(0.1)
    assert server.has_no_client
    client.wake()
    await (await server.accept()).accept_resume()
    await wait_for_state(client, State.CONNECTED)


async def test_wake_ends_one_wait_only(server: Server, make: Make) -> None:
    asked = asyncio.Queue[int]()

    def delays(failures: int) -> float:
        asked.put_nowait(failures)
        return HOUR

    client = make(server.url, delays=delays)
    accepted = await joined(server, client)
    server.statuses.append(HTTPStatus.BAD_GATEWAY)
    await accepted.close(1006)
    assert await soon(asked.get()) == 0
    client.wake()
    assert await soon(asked.get()) == 1
    await asyncio.sleep(0.1)
    assert (server.has_no_client, asked.empty()) == (True, True)


async def test_wake_at_the_moment_of_the_loss_prevents_the_wait(server: Server, make: Make) -> None:
    def wake(state: State) -> None:
        if state == State.RECONNECTING:
            client.wake()

    client = make(server.url, delays=long_delay, on_state=wake)
    await (await joined(server, client)).close(1006)
    await (await server.accept()).accept_resume()


# --- Close codes ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1006, 1012, 4408, 4500, 4503, 4508])
async def test_the_client_resumes_as_the_same_peer(server: Server, make: Make, code: int) -> None:
    states: list[State] = []
    client = make(server.url, on_state=states.append)
    accepted = await joined(server, client)
    assert (client.peer_id, client.reconnects) == ("peer_1", 0)
    await accepted.close(code)
    accepted = await server.accept()
    assert client.state == State.RECONNECTING
    assert await accepted.accept_resume(resumeToken="two", gap=True) == {
        "roomCode": "abc123",
        "resumable": True,
        "resumeToken": "one",
    }
    await accepted.send("webrtc:ice", CANDIDATE)
    assert await soon(anext(client)) == Event(
        "room:joined", {**ROOM, "resumed": True, "resumeToken": "two", "gap": True}
    )
    assert await soon(anext(client)) == ("webrtc:ice", CANDIDATE)
    assert client.close_code == code
    assert (client.attempts, client.reconnects, client.resumes) == (2, 1, 1)
    assert states == [State.CONNECTED, State.RECONNECTING, State.CONNECTED]
    await accepted.close(code)
    assert (await (await server.accept()).accept_resume())["resumeToken"] == "two"


async def test_a_caller_that_retries_at_once_does_not_starve_the_reader(server: Server) -> None:
    socket = await open_socket(server.url)
    await socket.close()
    reader_ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(reader_ran.set)
    with pytest.raises(ConnectionLost):
        await Connection(socket, count(1)).request("ping", {})
    assert reader_ran.is_set()


@pytest.mark.parametrize(
    "code", [1000, 1002, 1008, 1009, 1011, 4400, 4401, 4403, 4409, 4410, 4429, 4999]
)
async def test_the_client_does_not_reconnect_after_a_final_code(
    server: Server, make: Make, code: int
) -> None:
    states: list[State] = []
    client = make(server.url, on_state=states.append)
    accepted = await joined(server, client)
    asking = asyncio.create_task(client.request("peer:update"))
    await accepted.receive("peer:update")
    await accepted.send("room:closed", {"reason": "over"})
    await accepted.close(code)
    with pytest.raises(ConnectionLost):
        await soon(asking)
    assert await soon(anext(client)) == ("room:closed", {"reason": "over"})
    for _ in range(2):
        with pytest.raises(ClientClosed) as closed:
            await soon(anext(client))
        assert closed.value.code == client.close_code == code
    for request in (client.request("ping"), client.send("ping"), client.join("X"), client.leave()):
        with pytest.raises(ClientClosed):
            await soon(request)
    assert states == [State.CONNECTED, State.CLOSED]
    assert client.attempts == 1


async def test_a_late_close_of_the_old_connection_has_no_effect(server: Server, make: Make) -> None:
    """The server closes it with 4409 once the peer has resumed elsewhere."""
    client = make(server.url, ping_interval=0.2, heartbeat_timeout=1.0)
    old = await joined(server, client)
    new = await server.accept()
    await new.accept_resume()
    answering = asyncio.create_task(new.answer_pings())
    await old.close(4409)
    await soon(client.request("ping"))
    assert (client.state, client.attempts) == (State.CONNECTED, 2)
    answering.cancel()


# --- Heartbeat --------------------------------------------------------------------------------


async def test_pings_keep_an_idle_connection_open(server: Server, make: Make) -> None:
    client = make(server.url, ping_interval=0.05, heartbeat_timeout=1.0)
    accepted = await joined(server, client)
    began = time.monotonic()
    while time.monotonic() < began + 2.5:
        assert await accepted.receive("ping") == {"event": "ping", "data": {}}
        await accepted.send("pong", {})
    assert client.attempts == 1
    await accepted.send("peer:left", {"peerId": "peer_2"})
    assert await soon(anext(client)) == ("peer:left", {"peerId": "peer_2"}), (
        "a pong is not an event"
    )


async def test_a_silent_connection_counts_as_lost(server: Server, make: Make) -> None:
    client = make(server.url, ping_interval=0.05, heartbeat_timeout=0.3)
    began = time.monotonic()
    silent = await joined(server, client)
    await (await server.accept()).accept_resume()
    assert time.monotonic() - began >= 0.3
    await wait_for_state(client, State.CONNECTED)
    assert await silent.wait_closed() == 1006
    assert client.close_code == 1006


def test_the_default_heartbeat_is_that_of_the_protocol() -> None:
    parameters = inspect.signature(ResumingClient).parameters
    assert parameters["ping_interval"].default == 20
    assert parameters["heartbeat_timeout"].default == 45
