"""The heartbeat timeout."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.contrib.auth.models import User

from rooms import services
from rooms.models import Room
from tests.patience import PATIENCE
from tests.signalling.consumers.conftest import Configure
from tests.signalling.sockets import connected

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_that_stops_pinging_is_closed(bob: User, configure: Configure) -> None:
    configure(HEARTBEAT_TIMEOUT=0.1)
    async with connected(bob) as socket:
        await socket.request("ping")
        await socket.receive_error("unavailable")
        assert await socket.receive_close() == 4408


async def test_an_error_without_a_request_does_not_take_the_id_of_a_pending_one(
    room: Room, bob: User, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(HEARTBEAT_TIMEOUT=0.1)
    may_join = threading.Event()
    join = services.join

    def slow_join(**arguments: Any) -> services.Joined:
        may_join.wait(PATIENCE)
        return join(**arguments)

    monkeypatch.setattr(services, "join", slow_join)
    async with connected(bob) as socket:
        await socket.request("ping")
        await socket.send("join:room", {"roomCode": room.code}, id="mine")
        frame = await socket.receive_frame()
        assert (frame["data"]["code"], frame.get("id")) == ("unavailable", None)
        assert await socket.receive_close() == 4408
        may_join.set()


async def test_a_client_that_pings_in_time_stays_connected(bob: User, configure: Configure) -> None:
    configure(HEARTBEAT_TIMEOUT=2.0)
    async with connected(bob) as socket:
        for _ in range(5):
            await asyncio.sleep(0.5)
            assert (await socket.request("ping"))["event"] == "pong"


async def test_a_client_that_never_pings_has_no_heartbeat_timeout(
    bob: User, configure: Configure
) -> None:
    configure(HEARTBEAT_TIMEOUT=0.05)
    async with connected(bob) as socket:
        await socket.request("leave:room")
        await asyncio.sleep(0.3)
        assert (await socket.request("leave:room"))["data"]["code"] == "not_in_room"
