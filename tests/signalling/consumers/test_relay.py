"""Relays between two peers, and the targets that are refused."""

from __future__ import annotations

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User

from rooms import services
from rooms.models import Room
from tests.signalling.consumers.faulty_layer import FaultyLayer
from tests.signalling.consumers.helpers import ANSWER, CANDIDATE, OFFER, channel_of
from tests.signalling.sockets import connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("event", "key", "payload"),
    [
        ("webrtc:offer", "offer", OFFER),
        ("webrtc:answer", "answer", ANSWER),
        ("webrtc:ice", "candidate", CANDIDATE),
        ("webrtc:ice", "candidate", {"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0}),
        ("webrtc:ice", "candidate", None),
        ("webrtc:ice", "candidate", ""),
    ],
)
async def test_the_server_sets_the_sender_of_a_relay(
    room: Room, alice: User, bob: User, event: str, key: str, payload: object
) -> None:
    async with in_room(alice, bob) as (first, second):
        request = {"targetPeerId": first.peer_id, key: payload, "fromPeerId": "spoofed", "x": 1}
        assert await second.request(event, request) == {"event": "ack", "data": {}}
        assert await first.receive(event) == {
            "targetPeerId": first.peer_id,
            key: payload,
            "fromPeerId": second.peer_id,
        }


async def test_a_relay_without_an_id_is_not_acknowledged(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.send("webrtc:offer", {"targetPeerId": first.peer_id, "offer": OFFER})
        await first.receive("webrtc:offer")
        await second.receive_nothing()


async def test_relays_arrive_in_order(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        target = {"targetPeerId": first.peer_id}
        await second.send("webrtc:offer", {**target, "offer": OFFER})
        for number in range(30):
            await second.send("webrtc:ice", {**target, "candidate": f"candidate:{number}"})
        await first.receive("webrtc:offer")
        for number in range(30):
            assert (await first.receive("webrtc:ice"))["candidate"] == f"candidate:{number}"


async def test_a_relay_reaches_only_its_target(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob, bob) as (first, second, third):
        await second.request("webrtc:ice", {"targetPeerId": first.peer_id, "candidate": CANDIDATE})
        await first.receive("webrtc:ice")
        await third.receive_nothing()


async def test_all_invalid_targets_get_the_same_error(room: Room, alice: User, bob: User) -> None:
    await database_sync_to_async(services.open_room)(host=alice, code="OTHER")
    async with (
        in_room(alice, bob, bob) as (_, second, former),
        in_room(alice, code="OTHER") as (outsider,),
    ):
        await former.request("leave:room")
        await second.receive("peer:left")
        answers = [
            await second.request("webrtc:offer", {"targetPeerId": target, "offer": OFFER})
            for target in (outsider.peer_id, former.peer_id, second.peer_id, "peer_x", "")
        ]
        assert answers[0]["data"]["code"] == "peer_not_found"
        assert all(answer == answers[0] for answer in answers)
        await outsider.receive_nothing()


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("leave:room", None),
        ("webrtc:offer", {"targetPeerId": "p", "offer": OFFER}),
        ("webrtc:answer", {"targetPeerId": "p", "answer": ANSWER}),
        ("webrtc:ice", {"targetPeerId": "p", "candidate": CANDIDATE}),
        ("peer:update", {"media": {"audio": True}}),
    ],
)
async def test_requests_that_need_a_room_are_refused_outside_one(
    room: Room, bob: User, event: str, data: object
) -> None:
    async with connected(bob) as socket:
        answer = await socket.request(event, data)
        assert (answer["data"]["code"], answer["data"]["event"]) == ("not_in_room", event)


async def test_a_relay_to_a_full_channel_returns_peer_busy(
    room: Room, alice: User, bob: User, layer: FaultyLayer
) -> None:
    async with in_room(alice, bob) as (first, second):
        layer.full.add(await channel_of(first))
        request = {"targetPeerId": first.peer_id, "candidate": CANDIDATE}
        answer = await second.request("webrtc:ice", request)
        assert answer["data"]["code"] == "peer_busy"
        assert answer["data"]["retryAfter"] == 1
        layer.full.clear()
        assert (await second.request("webrtc:ice", request))["event"] == "ack"
        await first.receive("webrtc:ice")
