from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms.models import Room
from signalling import sfu
from signalling.sfu.livekit import LiveKitSfu
from signalling.worker import process
from tests.conftest import PASSWORD
from tests.signalling.sfu.livekit_server import KEY, SECRET, LiveKitServer

BACKEND = "signalling.sfu.livekit.LiveKitSfu"


@pytest.fixture
async def server() -> AsyncIterator[LiveKitServer]:
    """A LiveKit API server."""
    server = LiveKitServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def options(server: LiveKitServer) -> dict[str, Any]:
    """The options of a site that uses it."""
    return {
        "BACKEND": BACKEND,
        "URL": "wss://livekit.example.org",
        "API_URL": server.url,
        "API_KEY": KEY,
        "API_SECRET": SECRET,
    }


@pytest.fixture
async def backend(options: dict[str, Any]) -> AsyncIterator[LiveKitSfu]:
    backend = LiveKitSfu("default", options)
    yield backend
    await backend.close()


@pytest.fixture
async def site(settings: Settings, options: dict[str, Any]) -> AsyncIterator[None]:
    """The example site with this SFU."""
    settings.SIGNALLING = {**settings.SIGNALLING, "SFU": options}
    yield
    tasks = process.get_worker()._tasks
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await sfu.get_sfus().close()


@pytest.fixture
def carol(db: None) -> User:
    return User.objects.create_user("carol", password=PASSWORD)


@pytest.fixture
def small(room: Room) -> Room:
    """A room whose mesh holds two peers and that holds five in total."""
    room.p2p_limit, room.total_limit = 2, 5
    room.save()
    return room


@pytest.fixture
def routed(room: Room) -> Room:
    """A room that always uses the SFU."""
    room.topology = Room.Topology.SFU
    room.save()
    return room
