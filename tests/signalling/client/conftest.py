from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from signalling.client import (
    ResumingClient,
)
from tests.signalling.client.server import Make, Server, no_delay


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server() as server:
        yield server


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Return a function that creates clients; they are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(*urls: str, **options: Any) -> ResumingClient:
            client = ResumingClient(
                urls, **{"token": "t", "delays": no_delay, "proxy": None, **options}
            )
            stack.push_async_callback(client.close)
            return client

        yield make
