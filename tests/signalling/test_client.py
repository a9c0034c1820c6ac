"""The client that comes back, against a real server whose answers each test gives itself."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from signalling.client import (
    ClientClosed,
    ConnectionLost,
    Event,
    RequestRefused,
    ResumingClient,
    State,
)
from signalling.client.backoff import reconnect_delay
from signalling.client.connection import Connection, open_socket
from signalling.testing import SignallingCommunicator

TIMEOUT = 5.0
HOUR = 3600.0
ROOM = {"roomId": "room_abc123", "peerId": "peer_1", "peers": [], "resumed": False}
CANDIDATE = {"targetPeerId": "peer_1", "candidate": "c", "fromPeerId": "peer_2"}


def at_once(failures: int) -> float:
    return 0.0


def never(failures: int) -> float:
    return HOUR


class Accepted:
    """One connection, from the server's side."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        assert connection.request is not None
        self.token = connection.request.headers.get("Authorization", "").removeprefix("Bearer ")

    async def receive(self, event: str) -> dict[str, Any]:
        """Return the next frame, which must be this event."""
        async with asyncio.timeout(TIMEOUT):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
        assert frame["event"] == event, frame
        return frame

    async def says(self, event: str, data: dict[str, Any], **envelope: Any) -> None:
        await self.connection.send(json.dumps({"event": event, "data": data, **envelope}))

    async def refuses(self, request: dict[str, Any], code: str, **details: Any) -> None:
        error = {"code": code, "message": "", "event": request["event"], **details}
        await self.says("error", error, id=request["id"])

    async def seats(self, **room: Any) -> dict[str, Any]:
        """Let the client join and return what it said."""
        join = await self.receive("join:room")
        await self.says("room:joined", {**ROOM, **room}, id=join["id"])
        data: dict[str, Any] = join["data"]
        return data

    async def resume(self, **room: Any) -> dict[str, Any]:
        return await self.seats(resumed=True, **room)

    async def answers_pings(self) -> None:
        while True:
            ping = await self.receive("ping")
            await self.says("pong", {}, **({"id": ping["id"]} if "id" in ping else {}))

    async def close(self, code: int) -> None:
        if code == 1006:
            self.connection.transport.abort()
            await self.connection.wait_closed()
        else:
            await self.connection.close(code)

    async def is_closed(self) -> int | None:
        """Wait for the end of the connection and return the code that the client gave."""
        async with asyncio.timeout(TIMEOUT):
            await self.connection.wait_closed()
        return self.connection.close_code


class Server:
    """A server that accepts everybody and says what it is told to."""

    def __init__(self, listener: socket.socket | None = None) -> None:
        self._listener = listener or bound()
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"
        self.statuses: list[HTTPStatus] = []
        """How the next handshakes are refused."""
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

    async def accepts(self) -> Accepted:
        """Return the next connection."""
        async with asyncio.timeout(TIMEOUT):
            return await self._accepted.get()

    @property
    def is_alone(self) -> bool:
        return self._accepted.empty()


def bound() -> socket.socket:
    """Return a socket with a port, which refuses whoever comes until it listens."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as server:
        yield server


Make = Callable[..., ResumingClient]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Return a function that makes clients; they are closed with the test."""
    async with AsyncExitStack() as stack:

        def make(*urls: str, **options: Any) -> ResumingClient:
            client = ResumingClient(
                urls, **{"token": "t", "delays": at_once, "proxy": None, **options}
            )
            stack.push_async_callback(client.close)
            return client

        yield make


async def connected(server: Server, client: ResumingClient) -> Accepted:
    await soon(client.connect())
    return await server.accepts()


async def joined(server: Server, client: ResumingClient, **room: Any) -> Accepted:
    """Connect, and join as a peer that may resume with the token ``one``."""
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.seats(resumeToken="one", **room)
    await soon(joining)
    return accepted


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(TIMEOUT):
        return await awaitable


async def becomes(client: ResumingClient, state: State) -> None:
    async with asyncio.timeout(TIMEOUT):
        while client.state != state:  # noqa: ASYNC110 - the client tells one listener alone
            await asyncio.sleep(0.001)


# --- How long a client waits ------------------------------------------------------------------


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
def test_the_waits_are_those_of_the_contract(
    failures: int, shortest: float, longest: float
) -> None:
    random.seed(failures)
    waits = [reconnect_delay(failures) for _ in range(2000)]
    span = longest - shortest
    assert shortest <= min(waits) < shortest + span / 50
    assert longest - span / 50 < max(waits) <= longest


async def test_waits_grow_until_the_server_serves_again(server: Server, make: Make) -> None:
    asked: list[int] = []

    def delays(failures: int) -> float:
        asked.append(failures)
        return 0.0

    client = make(server.url, delays=delays)
    accepted = await joined(server, client)
    server.statuses += [HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE]
    await accepted.close(1012)
    draining = await server.accepts()
    await draining.says("error", {"code": "unavailable", "message": "", "retryAfter": HOUR})
    await draining.close(4503)
    accepted = await server.accepts()
    assert asked == [0, 1, 2, 3]
    await accepted.resume()
    await becomes(client, State.CONNECTED)
    await accepted.close(1012)
    await server.accepts()
    assert asked == [0, 1, 2, 3, 0]


async def test_who_is_woken_waits_no_longer(server: Server, make: Make) -> None:
    client = make(server.url, delays=never)
    accepted = await joined(server, client)
    client.wake()  # of no use to whom is connected, nor later
    await accepted.close(1006)
    await becomes(client, State.RECONNECTING)
    await asyncio.sleep(0.1)
    assert server.is_alone
    client.wake()
    await (await server.accepts()).resume()
    await becomes(client, State.CONNECTED)


async def test_who_is_woken_once_waits_again_when_that_was_in_vain(
    server: Server, make: Make
) -> None:
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
    assert (server.is_alone, asked.empty()) == (True, True)


async def test_who_is_woken_in_the_moment_of_the_loss_does_not_wait(
    server: Server, make: Make
) -> None:
    def wake(state: State) -> None:
        if state == State.RECONNECTING:
            client.wake()

    client = make(server.url, delays=never, on_state=wake)
    await (await joined(server, client)).close(1006)
    await (await server.accepts()).resume()


# --- After which ends it comes back -----------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1006, 1012, 4408, 4500, 4503, 4508])
async def test_it_comes_back_as_the_same_peer(server: Server, make: Make, code: int) -> None:
    states: list[State] = []
    client = make(server.url, on_state=states.append)
    accepted = await joined(server, client)
    assert (client.peer_id, client.reconnects) == ("peer_1", 0)
    await accepted.close(code)
    accepted = await server.accepts()
    assert client.state == State.RECONNECTING
    assert await accepted.resume(resumeToken="two", gap=True) == {
        "roomCode": "abc123",
        "resumable": True,
        "resumeToken": "one",
    }
    await accepted.says("webrtc:ice", CANDIDATE)
    assert await soon(anext(client)) == Event(
        "room:joined", {**ROOM, "resumed": True, "resumeToken": "two", "gap": True}
    )
    assert await soon(anext(client)) == ("webrtc:ice", CANDIDATE)
    assert client.close_code == code
    assert (client.attempts, client.reconnects, client.resumes) == (2, 1, 1)
    assert states == [State.CONNECTED, State.RECONNECTING, State.CONNECTED]
    await accepted.close(code)
    assert (await (await server.accepts()).resume())["resumeToken"] == "two"


async def test_who_asks_again_at_once_lets_the_loss_be_noticed(server: Server) -> None:
    socket = await open_socket(server.url)
    await socket.close()
    is_others_turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(is_others_turn.set)
    with pytest.raises(ConnectionLost):
        await Connection(socket, count(1)).request("ping", {})
    assert is_others_turn.is_set()


@pytest.mark.parametrize(
    "code", [1000, 1002, 1008, 1009, 1011, 4400, 4401, 4403, 4409, 4410, 4429, 4999]
)
async def test_it_does_not_come_back(server: Server, make: Make, code: int) -> None:
    states: list[State] = []
    client = make(server.url, on_state=states.append)
    accepted = await joined(server, client)
    asking = asyncio.create_task(client.request("peer:update"))
    await accepted.receive("peer:update")
    await accepted.says("room:closed", {"reason": "over"})
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


async def test_a_late_end_of_an_old_connection_means_nothing(server: Server, make: Make) -> None:
    """The server closes it 4409 when it sees that the peer was resumed elsewhere: with the client."""
    client = make(server.url, ping_interval=0.2, heartbeat_timeout=1.0)
    old = await joined(server, client)
    new = await server.accepts()
    await new.resume()
    answering = asyncio.create_task(new.answers_pings())
    await old.close(4409)
    await soon(client.request("ping"))
    assert (client.state, client.attempts) == (State.CONNECTED, 2)
    answering.cancel()


# --- Heartbeat --------------------------------------------------------------------------------


async def test_pings_keep_a_silent_connection_up(server: Server, make: Make) -> None:
    client = make(server.url, ping_interval=0.05, heartbeat_timeout=1.0)
    accepted = await joined(server, client)
    began = time.monotonic()
    while time.monotonic() < began + 2.5:
        assert await accepted.receive("ping") == {"event": "ping", "data": {}}
        await accepted.says("pong", {})
    assert client.attempts == 1
    await accepted.says("peer:left", {"peerId": "peer_2"})
    assert await soon(anext(client)) == ("peer:left", {"peerId": "peer_2"}), "pongs are no events"


async def test_silence_is_a_loss_though_the_connection_stands(server: Server, make: Make) -> None:
    client = make(server.url, ping_interval=0.05, heartbeat_timeout=0.3)
    began = time.monotonic()
    silent = await joined(server, client)
    await (await server.accepts()).resume()
    assert time.monotonic() - began >= 0.3
    await becomes(client, State.CONNECTED)
    assert await silent.is_closed() == 1006
    assert client.close_code == 1006


def test_the_heartbeat_is_the_contracts_unless_it_is_set() -> None:
    parameters = inspect.signature(ResumingClient).parameters
    assert parameters["ping_interval"].default == 20
    assert parameters["heartbeat_timeout"].default == 45


# --- Handshakes that fail ---------------------------------------------------------------------


async def test_a_port_where_nobody_listens_is_tried_again(make: Make) -> None:
    listener = bound()
    has_failed = asyncio.Event()

    def delays(failures: int) -> float:
        if failures == 3:
            has_failed.set()
        return 0.01

    server = Server(listener)
    client = make(server.url, delays=delays)
    connecting = asyncio.create_task(client.connect())
    await soon(has_failed.wait())
    assert client.state == State.CONNECTING
    async with server:
        await soon(connecting)
        assert client.attempts > 4
        assert (client.state, client.reconnects) == (State.CONNECTED, 0)
        await client.close()


@pytest.mark.parametrize("status", [500, 502, 503, 504, 507])
async def test_a_server_in_need_is_tried_again(server: Server, make: Make, status: int) -> None:
    client = make(server.url)
    server.statuses.append(HTTPStatus(status))
    await connected(server, client)
    assert client.attempts == 2


async def test_a_server_that_dies_during_the_handshake_is_tried_again(
    server: Server, make: Make
) -> None:
    async def disconnect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    dying = await asyncio.start_server(disconnect, "127.0.0.1", 0)
    async with dying:
        port = dying.sockets[0].getsockname()[1]
        client = make(f"ws://127.0.0.1:{port}/", server.url)
        await connected(server, client)
        assert client.attempts == 2


@pytest.mark.parametrize("status", [HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND])
async def test_a_handshake_that_is_refused_is_not_tried_again(
    server: Server, make: Make, status: HTTPStatus
) -> None:
    server.statuses.append(status)
    client = make(server.url)
    with pytest.raises(websockets.InvalidStatus):
        await soon(client.connect())
    assert (client.state, client.attempts) == (State.CLOSED, 1)


async def test_a_handshake_that_is_refused_ends_a_client_that_was_connected(
    server: Server, make: Make
) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    server.statuses.append(HTTPStatus.FORBIDDEN)
    await accepted.close(1006)
    with pytest.raises(websockets.InvalidStatus):
        await soon(anext(client))
    with pytest.raises(websockets.InvalidStatus):
        await client.request("ping")


async def test_addresses_are_taken_in_turn(make: Make) -> None:
    async with Server() as first, Server() as second:
        client = make(first.url, second.url)
        accepted = await joined(first, client)
        for server in (second, first, second):
            await accepted.close(1012)
            accepted = await server.accepts()
            await accepted.resume()
        await becomes(client, State.CONNECTED)
        assert client.resumes == 3
        await client.close()


# --- Tokens -----------------------------------------------------------------------------------


async def test_each_attempt_asks_for_a_token(server: Server, make: Make) -> None:
    tokens = iter(["a", "b", "c"])

    async def token() -> str:
        return next(tokens)

    client = make(server.url, token=token)
    accepted = await joined(server, client)
    assert accepted.token == "a"
    server.statuses.append(HTTPStatus.BAD_GATEWAY)
    await accepted.close(1006)
    assert (await server.accepts()).token == "c"


async def test_after_4401_it_comes_back_with_another_token_alone(
    server: Server, make: Make
) -> None:
    tokens = iter(["old", "new", "new"])

    async def token() -> str:
        return next(tokens)

    client = make(server.url, token=token)
    await (await joined(server, client)).close(4401)
    accepted = await server.accepts()
    assert accepted.token == "new"
    await accepted.resume()
    await accepted.close(4401)
    assert (await soon(anext(client))).name == "room:joined"
    with pytest.raises(ClientClosed) as closed:
        await soon(anext(client))
    assert closed.value.code == 4401
    assert client.state == State.CLOSED
    assert (client.attempts, list(tokens)) == (3, [])


async def test_where_no_token_can_be_had_the_attempt_has_failed(server: Server, make: Make) -> None:
    failures = [ConnectionRefusedError(), TimeoutError()]

    async def token() -> str:
        if failures:
            raise failures.pop()
        return "a"

    client = make(server.url, token=token)
    assert (await connected(server, client)).token == "a"
    assert client.attempts == 3


async def test_a_fault_in_the_function_for_tokens_is_not_hidden(server: Server, make: Make) -> None:
    async def token() -> str:
        raise KeyError("access")

    with pytest.raises(KeyError):
        await soon(make(server.url, token=token).connect())


# --- Joining ----------------------------------------------------------------------------------


async def test_it_joins_resumably(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    assert await accepted.seats(peers=[{"id": "peer_2"}]) == {
        "roomCode": "ABC123",
        "resumable": True,
    }
    room = await soon(joining)
    assert room == client.room == {**ROOM, "peers": [{"id": "peer_2"}]}
    await accepted.says("peer:joined", {"peerId": "peer_3"})
    assert (await soon(anext(client))).name == "peer:joined", (
        "join has returned room:joined already"
    )


async def test_a_refused_join_leaves_the_client_as_it_was(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("NONE"))
    await accepted.refuses(await accepted.receive("join:room"), "room_full", limit=10)
    with pytest.raises(RequestRefused) as refused:
        await soon(joining)
    assert (refused.value.code, refused.value.details["limit"]) == ("room_full", 10)
    assert (client.state, client.room, client.peer_id) == (State.CONNECTED, None, "")
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.seats()
    await soon(joining)


async def test_a_join_that_is_cut_off_is_begun_anew(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.receive("join:room")
    await accepted.close(1006)
    await (await server.accepts()).seats()
    assert await soon(joining) == ROOM


@pytest.mark.parametrize("code", ["unavailable", "rate_limited"])
async def test_a_join_waits_as_long_as_it_is_told_to(server: Server, make: Make, code: str) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    join = await accepted.receive("join:room")
    began = time.monotonic()
    await accepted.refuses(join, code, retryAfter=0.3)
    client.wake()
    await accepted.seats(resumeToken="one")
    assert time.monotonic() - began >= 0.3
    await soon(joining)

    await accepted.close(4503)
    accepted = await server.accepts()
    join = await accepted.receive("join:room")
    began = time.monotonic()
    await accepted.refuses(join, code, retryAfter=0.3)
    assert (await accepted.resume())["resumeToken"] == "one"
    assert time.monotonic() - began >= 0.3
    assert client.attempts == 2


async def test_a_join_that_was_told_to_wait_goes_on_where_it_can(
    server: Server, make: Make
) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.refuses(await accepted.receive("join:room"), "unavailable", retryAfter=0.1)
    await accepted.close(4503)
    await (await server.accepts()).seats()
    assert await soon(joining) == ROOM


@pytest.mark.parametrize("code", ["resume_expired", "resume_invalid"])
async def test_who_cannot_resume_joins_anew(server: Server, make: Make, code: str) -> None:
    client = make(server.url)
    await (await joined(server, client)).close(1006)
    accepted = await server.accepts()
    await accepted.refuses(await accepted.receive("join:room"), code)
    assert await accepted.seats(peerId="peer_9", resumeToken="two") == {
        "roomCode": "abc123",
        "resumable": True,
    }
    event, room = await soon(anext(client))
    assert (event, room["resumed"], client.peer_id) == ("room:joined", False, "peer_9")
    assert (client.reconnects, client.resumes) == (1, 0)
    await accepted.close(1006)
    assert (await (await server.accepts()).resume())["resumeToken"] == "two"


async def test_a_server_without_resuming_is_joined_anew(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await connected(server, client)
    joining = asyncio.create_task(client.join("ABC123"))
    await accepted.seats()
    await soon(joining)
    await accepted.close(1006)
    accepted = await server.accepts()
    assert await accepted.seats(peerId="peer_9") == {"roomCode": "abc123", "resumable": True}
    assert (await soon(anext(client))).data["peerId"] == "peer_9"


@pytest.mark.parametrize("code", ["removed", "room_closed", "room_full", "forbidden"])
async def test_who_may_not_come_back_is_told_why(server: Server, make: Make, code: str) -> None:
    client = make(server.url)
    await (await joined(server, client)).close(1006)
    accepted = await server.accepts()
    await accepted.refuses(await accepted.receive("join:room"), code)
    with pytest.raises(ClientClosed, match=code) as closed:
        await soon(anext(client))
    assert isinstance(closed.value.__cause__, RequestRefused)
    assert closed.value.__cause__.code == code
    assert await accepted.is_closed() == 1000
    assert client.attempts == 2


async def test_who_has_left_is_in_no_room_after_a_loss(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    leaving = asyncio.create_task(client.leave())
    await accepted.says("ack", {}, id=(await accepted.receive("leave:room"))["id"])
    await soon(leaving)
    assert (client.room, client.peer_id) == (None, "")
    await accepted.close(1006)
    accepted = await server.accepts()
    await soon(client.send("ping"))
    await accepted.receive("ping")


# --- Requests and events ----------------------------------------------------------------------


async def test_each_request_gets_the_answer_that_is_its_own(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    first = asyncio.create_task(client.request("peer:update", {"displayName": "A"}))
    second = asyncio.create_task(client.relay("peer_2", "candidate", None))
    asked = [await accepted.receive("peer:update"), await accepted.receive("webrtc:ice")]
    assert asked[0]["data"] == {"displayName": "A"}
    assert asked[1]["data"] == {"targetPeerId": "peer_2", "candidate": None}
    await accepted.refuses(asked[1], "peer_not_found")
    await accepted.says("ack", {"n": 1}, id=asked[0]["id"])
    assert await soon(first) == {"n": 1}
    with pytest.raises(RequestRefused, match="peer_not_found"):
        await soon(second)


@pytest.mark.parametrize(
    ("what", "event"),
    [("offer", "webrtc:offer"), ("answer", "webrtc:answer"), ("candidate", "webrtc:ice")],
)
async def test_relays_have_the_shapes_of_the_contract(
    server: Server, make: Make, what: Any, event: str
) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    relaying = asyncio.create_task(client.relay("peer_2", what, {"x": 1}))
    frame = await accepted.receive(event)
    assert frame["data"] == {"targetPeerId": "peer_2", what: {"x": 1}}
    await accepted.says("ack", {}, id=frame["id"])
    await soon(relaying)


async def test_a_request_that_is_cut_off_may_have_been_done(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    asking = asyncio.create_task(client.request("peer:update"))
    await accepted.receive("peer:update")
    await accepted.close(1006)
    with pytest.raises(ConnectionLost):
        await soon(asking)
    await (await server.accepts()).resume()
    await becomes(client, State.CONNECTED)


async def test_what_is_said_meanwhile_waits_for_the_seat(server: Server, make: Make) -> None:
    client = make(server.url, delays=never)
    await (await joined(server, client)).close(1006)
    await becomes(client, State.RECONNECTING)
    asking = asyncio.create_task(client.request("peer:update"))
    saying = asyncio.create_task(client.send("webrtc:ice", CANDIDATE))
    impatient = asyncio.create_task(client.request("ping"))
    await asyncio.sleep(0)
    impatient.cancel()
    client.wake()
    accepted = await server.accepts()
    await accepted.resume()
    request = await accepted.receive("peer:update")
    assert await accepted.receive("webrtc:ice") == {"event": "webrtc:ice", "data": CANDIDATE}
    await accepted.says("ack", {}, id=request["id"])
    await soon(asyncio.gather(asking, saying))


async def test_an_answer_that_nobody_waits_for_any_more_is_no_event(
    server: Server, make: Make
) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    asking = asyncio.create_task(client.request("peer:update"))
    frame = await accepted.receive("peer:update")
    asking.cancel()
    await accepted.says("ack", {}, id=frame["id"])
    await accepted.says("error", {"code": "unavailable", "targetPeerId": "peer_2"})
    assert await soon(anext(client)) == (
        "error",
        {"code": "unavailable", "targetPeerId": "peer_2"},
    )


async def test_too_many_events_end_the_client_and_not_the_memory(
    server: Server, make: Make
) -> None:
    client = make(server.url, max_events=3)
    accepted = await joined(server, client)
    for _ in range(4):
        await accepted.says("webrtc:ice", CANDIDATE)
    assert await accepted.is_closed() == 1000
    assert [await soon(anext(client)) for _ in range(3)] == [("webrtc:ice", CANDIDATE)] * 3
    with pytest.raises(ClientClosed, match="3 events"):
        await soon(anext(client))


# --- The end ----------------------------------------------------------------------------------


async def test_closing_says_so_and_ends_the_iteration(server: Server, make: Make) -> None:
    client = make(server.url)
    accepted = await joined(server, client)
    relaying = asyncio.create_task(client.relay("peer_2", "candidate", None))
    relay = await accepted.receive("webrtc:ice")
    await accepted.says("webrtc:ice", CANDIDATE)
    await accepted.says("ack", {}, id=relay["id"])
    await soon(relaying)  # so what was said before has come as well
    asking = asyncio.create_task(client.request("peer:update"))
    await accepted.receive("peer:update")
    await soon(client.close())
    assert await accepted.is_closed() == 1000
    assert [event async for event in client] == [("webrtc:ice", CANDIDATE)]
    assert [event async for event in client] == []
    with pytest.raises(ConnectionLost):
        await soon(asking)
    with pytest.raises(ClientClosed):
        await client.request("ping")
    await client.close()
    assert client.state == State.CLOSED


async def test_closing_ends_a_wait(server: Server, make: Make) -> None:
    client = make(server.url, delays=never)
    await (await joined(server, client)).close(1006)
    await becomes(client, State.RECONNECTING)
    asking = asyncio.create_task(client.request("ping"))
    await asyncio.sleep(0)
    await soon(client.close())
    with pytest.raises(ClientClosed):
        await soon(asking)


async def test_closing_ends_a_handshake_that_hangs(make: Make) -> None:
    with bound() as listener:
        listener.listen()
        client = make(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.connect()
        assert client.state == State.CLOSED
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, "a task is left"


async def test_a_fault_in_the_programs_own_function_is_not_hidden(
    server: Server, make: Make
) -> None:
    def fail(state: State) -> None:
        if state == State.RECONNECTING:
            raise ZeroDivisionError

    client = make(server.url, on_state=fail)
    await (await joined(server, client)).close(1006)
    with pytest.raises(ZeroDivisionError):
        await soon(anext(client))


# --- What it needs ----------------------------------------------------------------------------


def test_it_needs_no_django() -> None:
    program = (
        "import sys, signalling.client;"
        "print({m.split('.')[0] for m in sys.modules} & {'django', 'channels', 'rooms'})"
    )
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("set()\n", "")


async def test_it_says_what_is_missing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(ImportError, match="pip install websockets"):
        await make("ws://127.0.0.1:9/").connect()


# --- signalling.testing.SignallingCommunicator ------------------------------------------------


async def test_the_client_of_tests_joins_as_it_is_told(server: Server) -> None:
    async with SignallingCommunicator(server.url) as client:
        accepted = await server.accepts()
        joins: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({}, {"roomCode": "A"}),
            ({"resumable": True}, {"roomCode": "A", "resumable": True}),
            ({"resume_token": "one"}, {"roomCode": "A", "resumeToken": "one"}),
        ]
        for options, said in joins:
            joining = asyncio.create_task(client.join("A", **options))
            assert await accepted.seats() == said
            await soon(joining)


async def test_the_client_of_tests_resumes_or_says_that_it_did_not(server: Server) -> None:
    async with SignallingCommunicator(server.url) as client:
        accepted = await server.accepts()
        resuming = asyncio.create_task(client.resume("A", "one"))
        said = {"roomCode": "A", "resumable": True, "resumeToken": "one"}
        assert await accepted.resume(peerId="peer_7") == said
        await soon(resuming)
        assert client.peer_id == "peer_7"
        resuming = asyncio.create_task(client.resume("A", "two"))
        await accepted.seats()
        with pytest.raises(AssertionError, match="another peer"):
            await soon(resuming)
