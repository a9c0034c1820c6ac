"""The communicator for tests, against a server whose answers each test gives itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalling.testing import SignallingCommunicator
from tests.signalling.client.server import (
    Server,
    soon,
)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as server:
        yield server


async def test_the_communicator_sends_the_given_join_options(server: Server) -> None:
    async with SignallingCommunicator(server.url) as client:
        accepted = await server.accept()
        joins: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({}, {"roomCode": "A"}),
            ({"resumable": True}, {"roomCode": "A", "resumable": True}),
            ({"resume_token": "one"}, {"roomCode": "A", "resumeToken": "one"}),
        ]
        for options, data in joins:
            joining = asyncio.create_task(client.join("A", **options))
            assert await accepted.accept_join() == data
            await soon(joining)


async def test_the_communicator_fails_if_it_did_not_resume(server: Server) -> None:
    async with SignallingCommunicator(server.url) as client:
        accepted = await server.accept()
        resuming = asyncio.create_task(client.resume("A", "one"))
        data = {"roomCode": "A", "resumable": True, "resumeToken": "one"}
        assert await accepted.accept_resume(peerId="peer_7") == data
        await soon(resuming)
        assert client.peer_id == "peer_7"
        resuming = asyncio.create_task(client.resume("A", "two"))
        await accepted.accept_join()
        with pytest.raises(AssertionError, match="another peer"):
            await soon(resuming)
