"""Limits on violations, frames and offers."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from tests.signalling.consumers.conftest import Configure
from tests.signalling.consumers.helpers import ANSWER, CANDIDATE, OFFER
from tests.signalling.sockets import connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_hundred_violations_are_tolerated(bob: User) -> None:
    async with connected(bob) as socket:
        for _ in range(100):
            await socket.send_raw("{")
        for _ in range(100):
            await socket.receive_error("bad_json")
        await socket.receive_nothing()


async def test_too_many_violations_close_the_socket(bob: User, configure: Configure) -> None:
    configure(VIOLATIONS=5)
    async with connected(bob) as socket:
        for _ in range(8):  # one or two are forgiven during the test
            await socket.send_raw("{")
        codes = [(await socket.communicator.receive_output(10))["type"] for _ in range(7)]
        assert codes == ["websocket.send"] * 6 + ["websocket.close"]


async def test_excess_frames_are_rate_limited_and_a_flood_closes_the_socket(
    bob: User, configure: Configure
) -> None:
    configure(FRAME_RATE=0.01, FRAME_BURST=3, FLOOD_FRAMES=2)
    async with connected(bob) as socket:
        for _ in range(3):
            assert (await socket.request("ping"))["event"] == "pong"
        for _ in range(2):
            answer = await socket.request("ping")
            assert answer["data"]["code"] == "rate_limited"
            assert 90 < answer["data"]["retryAfter"] <= 100.1
        answer = await socket.request("ping")
        assert answer["data"]["code"] == "rate_limited"
        assert await socket.receive_close() == 4429


async def test_frames_after_the_close_are_not_handled(bob: User, configure: Configure) -> None:
    configure(FRAME_RATE=0.01, FRAME_BURST=1, FLOOD_FRAMES=1)
    async with connected(bob) as socket:
        for _ in range(10):
            await socket.send("ping")
        await socket.receive("pong")
        for _ in range(2):
            await socket.receive_error("rate_limited")
        assert await socket.receive_close() == 4429
        await socket.disconnect()
        assert await socket.communicator.receive_nothing(0)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("room:mode", {"mode": "sfu"}),
        ("sfu:state", {"version": 1, "state": "receiving"}),
        ("sfu:restart", {}),
    ],
)
async def test_costly_requests_have_their_own_rate_limit(
    bob: User, configure: Configure, event: str, data: dict[str, object]
) -> None:
    configure(COSTLY_RATE=0.01)
    async with connected(bob) as socket:
        for _ in range(5):
            assert (await socket.request(event, data))["data"]["code"] == "not_in_room"
        assert (await socket.request(event, data))["data"]["code"] == "rate_limited"
        assert (await socket.request("ping"))["event"] == "pong"


async def test_offers_have_their_own_rate_limit(
    room: Room, alice: User, bob: User, configure: Configure
) -> None:
    configure(OFFER_RATE=1)
    async with in_room(alice, bob) as (first, second):
        target = {"targetPeerId": first.peer_id}
        assert (await second.request("webrtc:offer", {**target, "offer": OFFER}))["event"] == "ack"
        answer = await second.request("webrtc:offer", {**target, "offer": OFFER})
        assert answer["data"]["code"] == "rate_limited"
        assert 0 < answer["data"]["retryAfter"] <= 1.001
        for event, key in (("webrtc:answer", "answer"), ("webrtc:ice", "candidate")):
            payload = ANSWER if key == "answer" else CANDIDATE
            assert (await second.request(event, {**target, key: payload}))["event"] == "ack"
