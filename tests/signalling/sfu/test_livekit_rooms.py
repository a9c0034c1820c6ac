"""Sites whose rooms go through LiveKit: sockets on one side, what speaks as LiveKit does on the other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.contrib.auth.models import User
from livekit import api
from pytest_django import Settings

from rooms import services
from rooms.models import Participant, Room
from signalling.sfu import reconciler
from tests.signalling.sfu.calls import NAME, call, commit, eventually, identity, receive
from tests.signalling.sfu.livekit_server import LiveKitServer
from tests.signalling.sockets import connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("site")]

UNAVAILABLE = 503, '{"code": "unavailable", "msg": "no node"}'


# --- The way ----------------------------------------------------------------------------------


async def test_the_third_is_one_too_many_for_a_mesh_and_all_are_shown_the_way(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with call(alice, bob, carol) as people:
        for person in people:
            assert person.way.keys() == {"provider", "url", "token"}
            assert identity(person.way) == person.peer_id
        await eventually(lambda: NAME in server.rooms)
        assert server.rooms[NAME].max_participants == 5
        await commit(server, people)
        assert (await Room.objects.aget()).mode == Room.Mode.SFU


async def test_without_a_livekit_that_answers_a_full_mesh_is_full(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    await server.stop()
    async with connected(alice) as first, connected(bob) as second, connected(carol) as third:
        await first.join()
        await second.join()
        answer = await third.ask("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "room_full"
        await first.expect("peer:joined")
        await first.receive_nothing()


@pytest.mark.parametrize("anew", [True, False])
async def test_who_asks_is_shown_the_way_again(routed: Room, alice: User, anew: bool) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await socket.send("sfu:restart", {"anew": anew})
        assert identity((await socket.expect("sfu:reset"))["sfu"]) == socket.peer_id


async def test_who_asks_while_livekit_is_away_is_told_so(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await server.stop()
        await socket.send("sfu:restart", {"anew": True})
        assert await socket.receive_error() == "sfu_unavailable"


async def test_what_is_for_a_proxied_sfu_has_no_target(routed: Room, alice: User) -> None:
    async with connected(alice) as socket:
        await socket.join()
        offer = {"type": "offer", "sdp": "v=0\r\n"}
        await socket.send("webrtc:offer", {"targetPeerId": "sfu:publish", "offer": offer})
        assert await socket.receive_error() == "peer_not_found"


# --- Who comes too early ----------------------------------------------------------------------


async def test_who_came_before_the_room_is_told_to_come_again(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    server.auto_create = False
    server.broken["CreateRoom"] = UNAVAILABLE
    async with connected(alice) as socket:
        joined = await socket.join()
        await eventually(lambda: server.failed)
        assert not server.connect(joined["sfu"]["token"])
        server.broken.clear()
        reset = await socket.expect("sfu:reset")
        assert server.connect(reset["sfu"]["token"])


async def test_who_is_in_already_is_left_alone(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    server.broken["CreateRoom"] = UNAVAILABLE
    async with connected(alice) as socket:
        joined = await socket.join()
        assert server.connect(joined["sfu"]["token"])
        await eventually(lambda: server.failed)
        server.broken.clear()
        await eventually(lambda: server.heard("ListParticipants"))
        await socket.receive_nothing()
        assert server.rooms[NAME].metadata


async def test_who_was_refused_may_ask_at_once_and_is_told_once(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    server.auto_create = False
    server.broken["CreateRoom"] = UNAVAILABLE
    async with connected(alice) as socket:
        joined = await socket.join()
        await eventually(lambda: server.failed)
        assert not server.connect(joined["sfu"]["token"])
        server.broken.clear()
        await socket.send("sfu:restart", {"anew": True})
        reset = await socket.expect("sfu:reset")
        assert server.connect(reset["sfu"]["token"])
        await eventually(lambda: len(server.heard("CreateRoom")) == 2)  # the site's own second try
        await eventually(lambda: server.heard("ListParticipants"))
        await socket.receive_nothing()


# --- Who leaves -------------------------------------------------------------------------------


async def test_who_leaves_is_cut_off(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with call(alice, bob, carol) as people:
        for person in people:
            server.connect(person.token)
        first, second, third = people
        await third.socket.ask("leave:room")
        await second.socket.disconnect(1006)
        await eventually(lambda: server.present(NAME) == {first.peer_id})


async def remove(peer_id: str) -> None:
    participant = await Participant.objects.aget(peer_id=peer_id)
    await database_sync_to_async(services.remove_participant)(participant)


async def test_who_was_removed_and_comes_again_is_removed_again(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with call(alice, bob, carol) as people:
        await commit(server, people)
        third = people[2]
        await remove(third.peer_id)
        assert await receive(third.socket, "error", code="removed")
        await eventually(lambda: third.peer_id not in server.present(NAME))
        for _ in range(2):
            assert server.connect(third.token), "LiveKit revokes no token"
            await reconciler.reconcile()
            assert server.present(NAME) == {person.peer_id for person in people[:2]}


async def test_one_stranger_that_cannot_be_removed_covers_no_other(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await eventually(lambda: NAME in server.rooms)
        for identity in ("peer_a", "peer_b"):
            here = server.participants.setdefault(NAME, {})
            here[identity] = api.ParticipantInfo(identity=identity)
        server.broken["RemoveParticipant"] = UNAVAILABLE
        await reconciler.reconcile()
        assert server.present(NAME) == {"peer_a", "peer_b"}
        server.broken.clear()
        await reconciler.reconcile()
        assert server.present(NAME) == set()


async def test_who_is_away_stays_and_is_cut_off_when_its_membership_ends(
    routed: Room, alice: User, bob: User, server: LiveKitServer
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        joined = await second.join(resumable=True)
        assert server.connect(joined["sfu"]["token"])
        await second.disconnect(1006)
        await receive(first, "peer:away")
        await reconciler.reconcile()
        assert server.present(NAME) == {second.peer_id}
        await remove(second.peer_id)
        await eventually(lambda: server.present(NAME) == set())


async def test_the_room_is_closed_when_all_have_left(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await eventually(lambda: NAME in server.rooms)
        await reconciler.reconcile()
        assert NAME in server.rooms
    await reconciler.reconcile()
    assert server.rooms == {}


async def test_who_stays_when_the_room_is_a_mesh_again_is_cut_off(
    routed: Room, alice: User, server: LiveKitServer, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "SWITCH_SECONDS": 0.2}
    async with connected(alice) as socket:
        joined = await socket.join()
        assert server.connect(joined["sfu"]["token"])
        await socket.send("room:mode", {"mode": "p2p"})
        await receive(socket, "room:mode", mode="p2p")
        await reconciler.reconcile()
        assert server.present(NAME) == {socket.peer_id}, "the mesh has to take its place first"
        assert (await socket.ask("sfu:restart"))["data"]["code"] == "peer_not_found"
        await eventually(lambda: server.present(NAME) == set())
        await reconciler.reconcile()
        assert server.rooms == {}


async def test_a_room_that_serves_nobody_is_closed_under_those_who_come_again(
    routed: Room, alice: User, server: LiveKitServer, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "SWITCH_SECONDS": 0.2}
    async with connected(alice) as socket:
        joined = await socket.join()
        await eventually(lambda: NAME in server.rooms)
    await eventually(lambda: server.heard("RemoveParticipant"))
    assert server.connect(joined["sfu"]["token"])
    async with asyncio.timeout(10):
        while NAME in server.rooms:
            await reconciler.reconcile()


class NoTakeover(InMemoryChannelLayer):
    """A channel layer that does not reach the former socket of who resumes."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if message["type"] == "signalling.takeover":
            raise ConnectionError("the broker is away")
        await super().send(channel, message)


async def test_who_has_resumed_elsewhere_is_not_cut_off_from_here(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    channel_layers.set("default", NoTakeover())
    async with connected(alice) as former, connected(alice) as present:
        joined = await former.join(resumable=True)
        assert server.connect(joined["sfu"]["token"])
        await present.join(resumable=True, resumeToken=joined["resumeToken"])
        assert await former.receive_error() == "not_in_room"
        assert await former.closed() == 4409
        await former.disconnect()
        await reconciler.reconcile()
        await present.receive_nothing()
        assert server.heard("RemoveParticipant") == []
        assert server.present(NAME) == {present.peer_id}
