"""Tokens that are renewed on an open connection, and what the client concludes from a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from signalling.client import ClientClosed, State
from tests.signalling.client.server import Make, Server, connected, soon, wait_for_state

EXPIRING = {"expiresAt": "2030-01-01T00:00:00Z"}


def once(first: str, error: Exception) -> Callable[[], Awaitable[str]]:
    """Return a token function that returns ``first`` and raises ``error`` from then on."""
    tokens = iter([first])

    async def token() -> str:
        for found in tokens:
            return found
        raise error

    return token


async def test_a_token_that_expires_soon_is_renewed_on_the_open_connection(
    server: Server, make: Make
) -> None:
    tokens = iter(["old", "new"])

    async def token() -> str:
        return next(tokens)

    client = make(server.url, token=token)
    accepted = await connected(server, client)
    await accepted.send("token:expiring", EXPIRING)
    request = await accepted.receive("authenticate")
    assert request["data"] == {"token": "new"}
    await accepted.send("authenticated", {"userInfo": {}, "expiresAt": None}, id=request["id"])
    assert (await soon(anext(client))).name == "token:expiring"
    assert (client.attempts, client.state) == (1, State.CONNECTED)


async def test_a_failed_renewal_does_not_end_the_client(server: Server, make: Make) -> None:
    client = make(server.url, token=once("old", OSError("the token server is unavailable")))
    accepted = await connected(server, client)
    for _ in range(2):
        await accepted.send("token:expiring", EXPIRING)
        await soon(anext(client))
    await client.send("ping")
    await accepted.receive("ping")


async def test_a_refused_token_is_not_confused_with_one_that_was_never_accepted(
    server: Server, make: Make
) -> None:
    tokens = iter(["old"])

    async def token() -> str:
        return next(tokens, "new")

    client = make(server.url, token=token)
    accepted = await connected(server, client)
    await accepted.send("token:expiring", EXPIRING)
    await accepted.receive("authenticate")  # not answered: the former token expires
    await accepted.close(4401)
    again = await server.accept()
    assert again.token == "new"
    await again.close(4401)
    assert (await soon(anext(client))).name == "token:expiring"
    with pytest.raises(ClientClosed):
        await soon(anext(client))


async def test_any_exception_of_the_token_function_is_logged(
    server: Server, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    client = make(server.url, token=once("old", ValueError("the token server is broken")))
    accepted = await connected(server, client)
    await accepted.send("token:expiring", EXPIRING)
    await soon(anext(client))
    await client.send("ping")
    await accepted.receive("ping")
    assert "Could not get another token: ValueError('the token server is broken')" in caplog.text


async def test_one_renewal_runs_at_a_time_and_ends_with_its_connection(
    server: Server, make: Make
) -> None:
    calls: list[asyncio.Task[object] | None] = []

    async def token() -> str:
        calls.append(asyncio.current_task())
        if len(calls) in {2, 3}:
            await asyncio.Event().wait()
        return "t"

    client = make(server.url, token=token)
    accepted = await connected(server, client)
    for _ in range(2):
        await accepted.send("token:expiring", EXPIRING)
        await soon(anext(client))
    assert len(calls) == 2
    renewal = calls[1]
    assert renewal is not None
    await accepted.close(1006)
    await wait_for_state(client, State.RECONNECTING)
    await asyncio.sleep(0)
    assert renewal.cancelled()
