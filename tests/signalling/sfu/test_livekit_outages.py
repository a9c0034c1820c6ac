"""Outages and restarts of LiveKit while rooms use it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from signalling.sfu import health, reconciler
from tests.signalling.sfu.clients import (
    NAME,
    commit_switch,
    identity,
    join_all,
    receive,
    wait_until,
)
from tests.signalling.sfu.livekit_server import LiveKitServer
from tests.signalling.sockets import connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("site")]


@pytest.fixture
def frequent_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_INTERVAL_SECONDS", 0.02)


@pytest.mark.usefixtures("frequent_probes")
async def test_a_room_too_large_for_a_mesh_is_notified_of_an_outage_and_its_end(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with join_all(alice, bob, carol) as clients:
        await commit_switch(server, clients)
        await server.stop()
        for client in clients:
            await receive(client.socket, "room:mode", mode="sfu", reason="sfu_lost")
        await server.start()
        for client in clients:
            mode = await receive(client.socket, "room:mode", mode="sfu", reason="sfu_back")
            assert identity(mode["sfu"]) == client.peer_id
            assert identity((await receive(client.socket, "sfu:reset"))["sfu"]) == client.peer_id
        assert server.rooms[NAME].max_participants == 5


@pytest.mark.usefixtures("frequent_probes")
async def test_a_room_small_enough_for_a_mesh_becomes_one(
    room: Room, alice: User, bob: User, server: LiveKitServer
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        await second.join()
        await first.send("room:mode", {"mode": "sfu"})
        await receive(second, "room:mode", mode="sfu", reason="host")
        await server.stop()
        for socket in (first, second):
            mode = await receive(socket, "room:mode", mode="p2p", reason="sfu_lost")
            assert "sfu" not in mode


@pytest.mark.usefixtures("frequent_probes")
async def test_a_refused_api_key_is_not_an_outage(
    routed: Room, alice: User, server: LiveKitServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        server.failures["ListRooms"] = 401, "invalid API key"
        await wait_until(
            lambda: caplog.text.count("rejected a health check") > health.MAX_FAILED_PROBES
        )
        assert "unavailable" not in caplog.text
        await socket.receive_nothing()
        assert (await Room.objects.aget()).mode == Room.Mode.SFU


async def test_the_room_is_created_again_after_a_restart_of_livekit(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await wait_until(lambda: NAME in server.rooms)
        await server.stop()
        await server.start()
        await reconciler.reconcile()
        assert identity((await socket.receive("sfu:reset"))["sfu"]) == socket.peer_id
        assert NAME in server.rooms
