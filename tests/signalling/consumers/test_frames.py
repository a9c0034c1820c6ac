"""Frames from the client: request ids, binary frames, invalid and oversized frames."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from tests.conftest import access_token
from tests.signalling.consumers.helpers import ANSWER, OFFER
from tests.signalling.sockets import connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


async def test_each_request_id_is_returned_exactly_once(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice) as (first,), connected(bob) as socket:
        target = {"targetPeerId": first.peer_id}
        requests: list[tuple[str, object]] = [
            ("authenticate", {"token": access_token(bob)}),
            ("webrtc:ice", {**target, "candidate": ""}),
            ("join:room", {"roomCode": "ABC123"}),
            ("join:room", {"roomCode": "ABC123"}),
            ("webrtc:offer", {**target, "offer": OFFER}),
            ("webrtc:answer", {**target, "answer": ANSWER}),
            ("webrtc:ice", {**target, "candidate": ""}),
            ("webrtc:ice", {**target}),
            ("peer:update", {"displayName": "Bobby"}),
            ("ping", None),
            ("no:such", None),
            ("leave:room", None),
        ]
        for number, (event, data) in enumerate(requests):
            await socket.send(event, data, id=f"id {number}")
        answers = [await socket.receive_frame() for _ in requests]
        assert [answer["id"] for answer in answers] == [f"id {n}" for n in range(len(requests))]
        assert [answer["event"] for answer in answers] == [
            "authenticated", "error", "room:joined", "error", "ack", "ack", "ack", "error", "ack",
            "pong", "error", "ack",
        ]  # fmt: skip
        await socket.receive_nothing()


@pytest.mark.parametrize("request_id", [0, 1, -1, 1.5, "", "a", "é", 2**53])
async def test_a_request_id_is_returned_unchanged(bob: User, request_id: object) -> None:
    async with connected(bob) as socket:
        await socket.send("ping", id=request_id)
        assert await socket.receive_frame() == {"event": "pong", "data": {}, "id": request_id}


async def test_a_request_without_an_id_is_answered_without_one(bob: User) -> None:
    async with connected(bob) as socket:
        await socket.send("ping")
        assert await socket.receive_frame() == {"event": "pong", "data": {}}
        await socket.send("ping", id=None)
        assert await socket.receive_frame() == {"event": "pong", "data": {}}


async def test_a_binary_frame_is_handled_like_a_text_frame(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.send_raw(b'{"event": "ping", "id": "\xc3\xa9"}')
        assert await socket.receive_frame() == {"event": "pong", "data": {}, "id": "é"}
        await socket.send_raw(b"\xff\xfe")
        await socket.receive_error("bad_json")
        await socket.send_raw(b"")
        await socket.receive_error("bad_json")


@pytest.mark.parametrize(
    ("text", "code", "path", "event", "request_id"),
    [
        ("{", "bad_json", None, None, None),
        ("", "bad_json", None, None, None),
        ("[]", "bad_request", "$", None, None),
        ('{"id": 1}', "bad_request", "$", None, 1),
        ('{"event": "no:such", "id": 1}', "unknown_event", None, "no:such", 1),
        ('{"event": "join:room", "data": {}, "id": 1}', "bad_request", "$.data", "join:room", 1),
        (r'{"event": "ping", "data": {"x": "\ud83d"}, "id": 1}', "bad_json", None, "ping", 1),
        (
            '{"event": "join:room", "data": {"roomCode": 5}}',
            "bad_request",
            "$.data.roomCode",
            "join:room",
            None,
        ),
        (
            '{"event": "webrtc:offer", "data": {"targetPeerId": "p", "offer": {"type": "answer", '
            '"sdp": ""}}}',
            "bad_request",
            "$.data.offer.type",
            "webrtc:offer",
            None,
        ),
    ],
)
async def test_an_invalid_frame_returns_an_error_and_the_socket_stays_open(
    bob: User,
    text: str,
    code: str,
    path: str | None,
    event: str | None,
    request_id: object,
) -> None:
    async with connected(bob) as socket:
        await socket.send_raw(text)
        frame = await socket.receive_frame()
        error = frame["data"]
        assert (frame["event"], frame.get("id")) == ("error", request_id)
        assert (error["code"], error.get("path"), error.get("event")) == (code, path, event)
        await socket.receive_nothing()


async def test_an_oversized_frame_closes_the_socket(bob: User) -> None:
    async with connected(bob) as socket:
        frame = '{"event": "ping", "id": 1, "data": {"x": "%s"}}'
        await socket.send_raw(frame % ("x" * (65_536 - len(frame) + 2)))
        assert (await socket.receive_frame())["event"] == "pong"
        await socket.send_raw(frame % ("x" * (65_536 - len(frame) + 3)))
        await socket.receive_error("message_too_large")
        assert await socket.receive_close() == 4400
