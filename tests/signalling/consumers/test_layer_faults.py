"""Outages of the channel layer."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from tests.signalling.consumers.faulty_layer import FaultyLayer
from tests.signalling.consumers.helpers import CANDIDATE, channel_of, live_peer_ids, send_to_channel
from tests.signalling.sockets import connected, in_room, open_socket

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_socket_receives_again_after_a_stock_layer_has_failed(
    room: Room, alice: User, layer: FaultyLayer
) -> None:
    socket = await open_socket(alice)
    await socket.join()
    layer.connection_lost.set()
    await socket.receive_nothing()
    layer.connection_lost.clear()
    closed = {"type": "signalling.closed", "room": "ABC123", "reason": "closed"}
    await send_to_channel(await channel_of(socket), closed)
    await socket.receive("room:closed")
    assert await socket.receive_close() == 4410


async def test_a_socket_without_a_channel_layer_is_closed_as_unavailable(
    alice: User, layer: FaultyLayer
) -> None:
    layer.failing.add("new_channel")
    socket = await open_socket(alice)
    await socket.receive_error("unavailable")
    assert await socket.receive_close() == 4503
    await socket.disconnect(4503)


async def test_a_join_that_cannot_subscribe_takes_no_seat(
    room: Room, bob: User, layer: FaultyLayer
) -> None:
    async with connected(bob) as socket:
        layer.failing.add("group_add")
        answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert (answer["data"]["code"], answer["data"]["retryAfter"]) == ("unavailable", 2)
        assert await live_peer_ids() == []
        layer.failing.clear()
        await socket.join()


async def test_a_relay_during_a_layer_outage_is_refused_and_the_socket_stays_open(
    room: Room, alice: User, bob: User, layer: FaultyLayer
) -> None:
    async with in_room(alice, bob) as (first, second):
        layer.failing.add("send")
        request = {"targetPeerId": first.peer_id, "candidate": CANDIDATE}
        answer = await second.request("webrtc:ice", request)
        assert answer["data"]["code"] == "unavailable"
        layer.failing.clear()
        assert (await second.request("webrtc:ice", request))["event"] == "ack"
        await first.receive("webrtc:ice")


@pytest.mark.parametrize("method", ["group_send", "group_discard"])
async def test_a_leave_during_a_layer_outage_frees_the_seat(
    room: Room, bob: User, layer: FaultyLayer, method: str
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        layer.failing.add(method)
    assert await live_peer_ids() == []
