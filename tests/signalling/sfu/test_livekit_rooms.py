"""Rooms that use LiveKit: real sockets on one side, a server with LiveKit's API on the other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.contrib.auth.models import User
from django.utils import timezone
from livekit import api
from pytest_django import Settings

from rooms import services
from rooms.models import Participant, Room
from signalling.sfu import reconciler
from signalling.sfu.base import SfuRoom
from signalling.sfu.livekit import LiveKitSfu
from tests.patience import PATIENCE
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

UNAVAILABLE_RESPONSE = 503, '{"code": "unavailable", "msg": "no node"}'


# --- Connecting -------------------------------------------------------------------------------


async def test_the_third_peer_exceeds_the_mesh_and_all_clients_get_a_token(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with join_all(alice, bob, carol) as clients:
        for client in clients:
            assert client.sfu.keys() == {"provider", "url", "token"}
            assert identity(client.sfu) == client.peer_id
        await wait_until(lambda: NAME in server.rooms)
        assert server.rooms[NAME].max_participants == 5
        await commit_switch(server, clients)
        assert (await Room.objects.aget()).mode == Room.Mode.SFU


async def test_a_full_mesh_is_full_while_livekit_is_unavailable(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    await server.stop()
    async with connected(alice) as first, connected(bob) as second, connected(carol) as third:
        await first.join()
        await second.join()
        answer = await third.request("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "room_full"
        await first.receive("peer:joined")
        await first.receive_nothing()


@pytest.mark.parametrize("anew", [True, False])
async def test_a_restart_sends_a_new_token(routed: Room, alice: User, anew: bool) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await socket.send("sfu:restart", {"anew": anew})
        assert identity((await socket.receive("sfu:reset"))["sfu"]) == socket.peer_id


async def test_a_restart_while_livekit_is_unavailable_is_refused(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await server.stop()
        await socket.send("sfu:restart", {"anew": True})
        await socket.receive_error("sfu_unavailable")


async def test_the_reserved_ids_do_not_exist_without_a_proxied_sfu(
    routed: Room, alice: User
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        offer = {"type": "offer", "sdp": "v=0\r\n"}
        await socket.send("webrtc:offer", {"targetPeerId": "sfu:publish", "offer": offer})
        await socket.receive_error("peer_not_found")


# --- Clients that connect early ----------------------------------------------------------------------


async def test_a_client_that_came_before_the_room_is_reset(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    server.auto_create = False
    server.failures["CreateRoom"] = UNAVAILABLE_RESPONSE
    async with connected(alice) as socket:
        joined = await socket.join()
        await wait_until(lambda: server.failed)
        assert not server.connect(joined["sfu"]["token"])
        server.failures.clear()
        reset = await socket.receive("sfu:reset")
        assert server.connect(reset["sfu"]["token"])


async def test_a_connected_client_is_not_reset(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    server.failures["CreateRoom"] = UNAVAILABLE_RESPONSE
    async with connected(alice) as socket:
        joined = await socket.join()
        assert server.connect(joined["sfu"]["token"])
        await wait_until(lambda: server.failed)
        server.failures.clear()
        await wait_until(lambda: NAME in server.rooms and server.rooms[NAME].metadata)  # the retry
        await wait_until_listed(server)
        await socket.receive_nothing()


async def test_a_refused_client_that_requests_a_restart_is_reset_once(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    server.auto_create = False
    server.failures["CreateRoom"] = UNAVAILABLE_RESPONSE
    async with connected(alice) as socket:
        joined = await socket.join()
        await wait_until(lambda: server.failed)
        assert not server.connect(joined["sfu"]["token"])
        server.failures.clear()
        await socket.send("sfu:restart", {"anew": True})
        reset = await socket.receive("sfu:reset")
        assert server.connect(reset["sfu"]["token"])
        await wait_until(lambda: len(server.requests_for("CreateRoom")) == 2)  # the retry
        await wait_until_listed(server)
        await socket.receive_nothing()


async def wait_until_listed(server: LiveKitServer) -> None:
    """Wait until the participants are requested once more. The reconciler requests them, too."""
    before = len(server.requests_for("ListParticipants"))
    await wait_until(lambda: len(server.requests_for("ListParticipants")) > before)


# --- Leaving -------------------------------------------------------------------------------


async def test_a_peer_that_leaves_is_disconnected(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with join_all(alice, bob, carol) as clients:
        for client in clients:
            server.connect(client.token)
        first, second, third = clients
        await third.socket.request("leave:room")
        await second.socket.disconnect(1006)
        await wait_until(lambda: server.connected(NAME) == {first.peer_id})


async def remove(peer_id: str) -> None:
    participant = await Participant.objects.aget(peer_id=peer_id)
    await database_sync_to_async(services.remove_participant)(participant)


async def test_a_removed_peer_that_reconnects_is_removed_again(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with join_all(alice, bob, carol) as clients:
        await commit_switch(server, clients)
        third = clients[2]
        await remove(third.peer_id)
        assert await receive(third.socket, "error", code="removed")
        await wait_until(lambda: third.peer_id not in server.connected(NAME))
        for _ in range(2):
            assert server.connect(third.token), "LiveKit does not revoke tokens"
            await reconciler.reconcile()
            assert server.connected(NAME) == {client.peer_id for client in clients[:2]}


async def test_a_peer_that_livekit_carries_cannot_veto_a_switch_by_lying(
    small: Room, alice: User, bob: User, carol: User, server: LiveKitServer
) -> None:
    async with join_all(alice, bob, carol) as clients:
        for client in clients:
            assert server.connect(client.token)
        await clients[0].socket.send("sfu:state", {"version": 1, "state": "failed"}, id=1)
        await receive(clients[0].socket, "ack")
        await reconciler.reconcile()
        await Room.objects.aupdate(switching_until=timezone.now() - timedelta(seconds=1))
        await reconciler.reconcile()
        switched = await Room.objects.aget()
        assert (switched.mode, switched.is_switching) == ("sfu", False)


async def test_a_client_that_is_still_connecting_to_livekit_is_not_carried(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    room = SfuRoom("room_abc123", 1, 5)
    await backend.open_room(room)
    info = api.ParticipantInfo
    states = {"peer_a": info.JOINED, "peer_b": info.ACTIVE, "peer_c": info.DISCONNECTED}
    server.participants[NAME] = {
        peer_id: info(identity=peer_id, state=state) for peer_id, state in states.items()
    }
    assert await backend.carried(room) == {"peer_b"}
    assert await backend.peers(room) == {"peer_a", "peer_b"}


async def test_an_orphan_that_cannot_be_removed_does_not_keep_others_in(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await wait_until(lambda: NAME in server.rooms)
        for identity in ("peer_a", "peer_b"):
            participants = server.participants.setdefault(NAME, {})
            participants[identity] = api.ParticipantInfo(identity=identity)
        server.failures["RemoveParticipant"] = UNAVAILABLE_RESPONSE
        await reconciler.reconcile()
        assert server.connected(NAME) == {"peer_a", "peer_b"}
        server.failures.clear()
        await reconciler.reconcile()
        assert server.connected(NAME) == set()


async def test_a_detached_peer_stays_connected_until_its_membership_ends(
    routed: Room, alice: User, bob: User, server: LiveKitServer
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        joined = await second.join(resumable=True)
        assert server.connect(joined["sfu"]["token"])
        await second.disconnect(1006)
        await receive(first, "peer:away")
        await reconciler.reconcile()
        assert server.connected(NAME) == {second.peer_id}
        await remove(second.peer_id)
        await wait_until(lambda: server.connected(NAME) == set())


async def test_a_room_is_closed_when_all_peers_have_left(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    async with connected(alice) as socket:
        await socket.join()
        await wait_until(lambda: NAME in server.rooms)
        await reconciler.reconcile()
        assert NAME in server.rooms
    await reconciler.reconcile()
    assert server.rooms == {}


async def test_clients_are_disconnected_after_the_room_becomes_a_mesh(
    routed: Room, alice: User, server: LiveKitServer, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "SWITCH_SECONDS": 3}
    async with connected(alice) as socket:
        joined = await socket.join()
        assert server.connect(joined["sfu"]["token"])
        await socket.send("room:mode", {"mode": "p2p"})
        await receive(socket, "room:mode", mode="p2p")
        await reconciler.reconcile()
        assert server.connected(NAME) == {socket.peer_id}, "the mesh is still connecting"
        assert (await socket.request("sfu:restart"))["data"]["code"] == "peer_not_found"
        await wait_until(lambda: server.connected(NAME) == set())
        await reconciler.reconcile()
        assert server.rooms == {}


async def test_an_unused_room_is_closed_even_if_clients_reconnect(
    routed: Room, alice: User, server: LiveKitServer, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "SWITCH_SECONDS": 0.2}
    async with connected(alice) as socket:
        joined = await socket.join()
        await wait_until(lambda: NAME in server.rooms)
    await wait_until(lambda: server.requests_for("RemoveParticipant"))
    assert server.connect(joined["sfu"]["token"])
    async with asyncio.timeout(PATIENCE):
        while NAME in server.rooms:
            await reconciler.reconcile()


class NoTakeover(InMemoryChannelLayer):
    """A channel layer that cannot reach the former socket of a resuming peer."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if message["type"] == "signalling.takeover":
            raise ConnectionError("the broker is unavailable")
        await super().send(channel, message)


async def test_a_peer_that_resumed_elsewhere_is_not_disconnected(
    routed: Room, alice: User, server: LiveKitServer
) -> None:
    channel_layers.set("default", NoTakeover())
    async with connected(alice) as former, connected(alice) as present:
        joined = await former.join(resumable=True)
        assert server.connect(joined["sfu"]["token"])
        await present.join(resumable=True, resumeToken=joined["resumeToken"])
        await former.receive_error("not_in_room")
        assert await former.receive_close() == 4409
        await former.disconnect()
        await reconciler.reconcile()
        await present.receive_nothing()
        assert server.requests_for("RemoveParticipant") == []
        assert server.connected(NAME) == {present.peer_id}
