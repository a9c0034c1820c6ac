"""Connecting: failed handshakes and tokens."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path

import pytest
import websockets

from signalling.client import (
    ClientClosed,
    State,
)
from tests.signalling.client.server import (
    Make,
    Server,
    bound,
    connected,
    joined,
    soon,
    wait_for_state,
)

# --- Failed handshakes ------------------------------------------------------------------------


async def test_a_refused_connection_is_retried(make: Make) -> None:
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
async def test_a_5xx_response_is_retried(server: Server, make: Make, status: int) -> None:
    client = make(server.url)
    server.statuses.append(HTTPStatus(status))
    await connected(server, client)
    assert client.attempts == 2


async def test_a_connection_lost_during_the_handshake_is_retried(
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
async def test_a_rejected_handshake_is_not_retried(
    server: Server, make: Make, status: HTTPStatus
) -> None:
    server.statuses.append(status)
    client = make(server.url)
    with pytest.raises(websockets.InvalidStatus):
        await soon(client.connect())
    assert (client.state, client.attempts) == (State.CLOSED, 1)


async def test_a_rejected_handshake_closes_a_client_that_was_connected(
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


async def test_addresses_are_tried_in_turn(make: Make) -> None:
    async with Server() as first, Server() as second:
        client = make(first.url, second.url)
        accepted = await joined(first, client)
        for server in (second, first, second):
            await accepted.close(1012)
            accepted = await server.accept()
            await accepted.accept_resume()
        await wait_for_state(client, State.CONNECTED)
        assert client.resumes == 3
        await client.close()


# --- Tokens -----------------------------------------------------------------------------------


async def test_each_attempt_gets_a_new_token(server: Server, make: Make) -> None:
    tokens = iter(["a", "b", "c"])

    async def token() -> str:
        return next(tokens)

    client = make(server.url, token=token)
    accepted = await joined(server, client)
    assert accepted.token == "a"
    server.statuses.append(HTTPStatus.BAD_GATEWAY)
    await accepted.close(1006)
    assert (await server.accept()).token == "c"


async def test_after_4401_the_client_reconnects_only_with_another_token(
    server: Server, make: Make
) -> None:
    tokens = iter(["old", "new", "new"])

    async def token() -> str:
        return next(tokens)

    client = make(server.url, token=token)
    await (await joined(server, client)).close(4401)
    accepted = await server.accept()
    assert accepted.token == "new"
    await accepted.accept_resume()
    await accepted.close(4401)
    assert (await soon(anext(client))).name == "room:joined"
    with pytest.raises(ClientClosed) as closed:
        await soon(anext(client))
    assert closed.value.code == 4401
    assert client.state == State.CLOSED
    assert (client.attempts, list(tokens)) == (3, [])


async def test_an_oserror_from_the_token_function_is_a_failed_attempt(
    server: Server, make: Make
) -> None:
    failures = [ConnectionRefusedError(), TimeoutError()]

    async def token() -> str:
        if failures:
            raise failures.pop()
        return "a"

    client = make(server.url, token=token)
    assert (await connected(server, client)).token == "a"
    assert client.attempts == 3


async def test_other_errors_of_the_token_function_are_raised(server: Server, make: Make) -> None:
    async def token() -> str:
        raise KeyError("access")

    with pytest.raises(KeyError):
        await soon(make(server.url, token=token).connect())


async def test_a_token_function_that_has_worked_may_fail_for_a_while(
    server: Server, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[str | Exception] = ["a", KeyError("access"), KeyError("access"), "b"]

    async def token() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = make(server.url, token=token)
    accepted = await connected(server, client)
    await accepted.close(1006)
    assert (await server.accept()).token == "b"
    assert caplog.text.count("Could not get another token: KeyError('access')") == 2


# --- Requirements -----------------------------------------------------------------------------


def test_the_client_does_not_import_django() -> None:
    program = (
        "import sys, signalling.client;"
        "print({m.split('.')[0] for m in sys.modules} & {'django', 'channels', 'rooms'})"
    )
    root = Path(__file__).resolve().parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("set()\n", "")


async def test_a_missing_websockets_package_is_explained(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(ImportError, match=r"django-signalling\[client\]"):
        await make("ws://127.0.0.1:9/").connect()


@pytest.mark.parametrize(
    ("closed", "message"),
    [
        (ClientClosed(4401), "closed with 4401: authentication"),
        (ClientClosed(4401, "expired"), "closed with 4401: expired"),
        (ClientClosed(4999), "closed with 4999"),
    ],
)
def test_a_close_code_is_named(closed: ClientClosed, message: str) -> None:
    assert str(closed) == message
