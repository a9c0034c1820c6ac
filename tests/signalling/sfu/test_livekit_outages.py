"""A LiveKit that goes down, comes up, or forgets, while rooms go through it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from signalling.sfu import health, reconciler
from tests.signalling.sfu.calls import NAME, call, commit, eventually, identity, receive
from tests.signalling.sfu.livekit_server import LiveKitServer
from tests.signalling.sockets import connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("site")]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_INTERVAL_SECONDS", 0.02)


@pytest.mark.usefixtures("impatient")
async def test_a_room_too_large_for_a_mesh_waits_for_livekit(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with call(alice, bob, carol) as people:
        await commit(server, people)
        await server.stop()
        for person in people:
            await receive(person.socket, "room:mode", mode="sfu", reason="sfu_lost")
        await server.start()
        for person in people:
            told = await receive(person.socket, "room:mode", mode="sfu", reason="sfu_back")
            assert identity(told["sfu"]) == person.peer_id
            assert identity((await receive(person.socket, "sfu:reset"))["sfu"]) == person.peer_id
        assert server.rooms[NAME].max_participants == 5


@pytest.mark.usefixtures("impatient")
async def test_a_room_that_fits_into_a_mesh_becomes_one(
    room: Room, alice: User, bob: User, server: LiveKitServer
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        await second.join()
        await first.send("room:mode", {"mode": "sfu"})
        await receive(second, "room:mode", mode="sfu", reason="host")
        await server.stop()
        for socket in (first, second):
            told = await receive(socket, "room:mode", mode="p2p", reason="sfu_lost")
            assert "sfu" not in told


@pytest.mark.usefixtures("impatient")
async def test_a_key_that_is_refused_is_no_outage(
    routed: Room, alice: User, server: LiveKitServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        server.broken["ListRooms"] = 401, "invalid API key"
        await eventually(
            lambda: caplog.text.count("rejected a health check") > health.MAX_FAILED_PROBES
        )
        assert "unavailable" not in caplog.text
        await socket.receive_nothing()
        assert (await Room.objects.aget()).mode == Room.Mode.SFU


async def test_a_livekit_that_was_started_anew_gets_the_room_again(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await eventually(lambda: NAME in server.rooms)
        await server.stop()
        await server.start()
        await reconciler.reconcile()
        assert identity((await socket.expect("sfu:reset"))["sfu"]) == socket.peer_id
        assert NAME in server.rooms
