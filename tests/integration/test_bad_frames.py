"""Frames that are refused: each costs an error, and the socket still answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

OFFER = {"type": "offer", "sdp": "v=0\r\n"}


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site(signalling={"BYTE_BURST": 100_000_000})


def relayed(event: str, **data: Any) -> str:
    return json.dumps({"event": f"webrtc:{event}", "data": {"targetPeerId": "x", **data}})


BAD_FRAMES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "bad_json"),
    "empty binary": (b"", "bad_json"),
    "binary that is not UTF-8": (b"\xff\xfe\x00", "bad_json"),
    "word": ("hello", "bad_json"),
    "open": ('{"event": "ping"', "bad_json"),
    "two": ('{"event": "ping"}{"event": "ping"}', "bad_json"),
    "NaN": ('{"event": "ping", "data": {"x": NaN}}', "bad_json"),
    "Infinity": ('{"event": "ping", "data": {"x": -Infinity}}', "bad_json"),
    "control character": ('{"event": "join:room", "data": {"roomCode": "A\nB"}}', "bad_json"),
    "lone surrogate": ('{"event": "join:room", "data": {"roomCode": "\\ud800"}}', "bad_json"),
    "null": ("null", "bad_request"),
    "number": ("1", "bad_request"),
    "text": ('"ping"', "bad_request"),
    "list": ('[{"event": "ping"}]', "bad_request"),
    "no event": ("{}", "bad_request"),
    "event a number": ('{"event": 1}', "bad_request"),
    "id true": ('{"event": "ping", "id": true}', "bad_request"),
    "id an object": ('{"event": "ping", "id": {}}', "bad_request"),
    "id of 129 characters": (json.dumps({"event": "ping", "id": "x" * 129}), "bad_request"),
    "data a list": ('{"event": "join:room", "data": []}', "bad_request"),
    "no data": ('{"event": "join:room"}', "bad_request"),
    "nested 20 deep": ("[" * 20 + "]" * 20, "bad_request"),
    "nested 30000 deep": ("[" * 30_000 + "]" * 30_000, "bad_request"),
    "never closed": ('{"a":' * 10_000, "bad_request"),
    "code a list": ('{"event": "join:room", "data": {"roomCode": ["A"]}}', "bad_request"),
    "code of 65 characters": (
        json.dumps({"event": "join:room", "data": {"roomCode": "x" * 65}}),
        "bad_request",
    ),
    "code with NUL": (
        '{"event": "join:room", "data": {"roomCode": "A\\u0000B"}}',
        "room_not_found",
    ),
    "code with an umlaut": (
        '{"event": "join:room", "data": {"roomCode": "ÄÖÜ"}}',
        "room_not_found",
    ),
    "code an injection": (
        json.dumps({"event": "join:room", "data": {"roomCode": "' OR 1=1 --"}}),
        "room_not_found",
    ),
    "no target": ('{"event": "webrtc:ice", "data": {"candidate": "x"}}', "bad_request"),
    "target a number": (
        '{"event": "webrtc:ice", "data": {"targetPeerId": 1, "candidate": "x"}}',
        "bad_request",
    ),
    "no offer": (relayed("offer"), "bad_request"),
    "offer a text": (relayed("offer", offer="v=0"), "bad_request"),
    "offer of another type": (
        relayed("offer", offer={"type": "answer", "sdp": "v=0"}),
        "bad_request",
    ),
    "offer without SDP": (relayed("offer", offer={"type": "offer"}), "bad_request"),
    "answer of an evil type": (
        relayed("answer", answer={"type": "evil", "sdp": "v=0"}),
        "bad_request",
    ),
    "candidate a number": (relayed("ice", candidate=1), "bad_request"),
    "line index below zero": (
        relayed("ice", candidate={"candidate": "", "sdpMLineIndex": -1}),
        "bad_request",
    ),
    "line index beyond all": (
        relayed("ice", candidate={"candidate": "", "sdpMLineIndex": 10**400}),
        "bad_request",
    ),
    "candidate of 10 KiB": (relayed("ice", candidate="x" * 10_240), "message_too_large"),
    "candidate of 1000 keys": (
        relayed("ice", candidate={f"key{number}": 1 for number in range(1000)}),
        "message_too_large",
    ),
    "media a text": ('{"event": "peer:update", "data": {"media": {"audio": "no"}}}', "bad_request"),
    "name of 65 characters": (
        json.dumps({"event": "peer:update", "data": {"displayName": "x" * 65}}),
        "bad_request",
    ),
    "name that turns the text around": (
        '{"event": "peer:update", "data": {"displayName": "\\u202eevil"}}',
        "bad_request",
    ),
    "name with NUL": (
        '{"event": "peer:update", "data": {"displayName": "a\\u0000"}}',
        "bad_request",
    ),
    "token a number": ('{"event": "authenticate", "data": {"token": 1}}', "bad_request"),
    "endless token": (
        json.dumps({"event": "authenticate", "data": {"token": "x" * 20_000}}),
        "bad_request",
    ),
    **{
        f"event {name[:20]}": (json.dumps({"event": name}), "unknown_event")
        for name in (
            "__class__",
            "__init__",
            "websocket.disconnect",
            "signalling.closed",
            "signalling_closed",
            "dispatch",
            "close",
            "",
            "JOIN:ROOM",
            "join:room ",
            "room:joined",
            "peer:left",
            "x" * 10_000,
        )
    },
}


@pytest.fixture(scope="module")
def room(site: Site) -> str:
    return site.room()


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_is_refused_and_the_socket_stays_open(
    site: Site, room: str, name: str
) -> None:
    frame, code = BAD_FRAMES[name]
    async with site.client("alice") as alice:
        await alice.send_raw(frame)
        await alice.receive_error(code)
        await alice.receive_nothing()


async def test_bad_frames_do_not_disturb_the_room(site: Site, room: str) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        await bob.join(room)
        await alice.join(room)
        await bob.receive("peer:joined")
        for frame, _ in BAD_FRAMES.values():
            await alice.send_raw(frame)
            await alice.receive("error")
        await alice.receive_nothing()
        await bob.receive_nothing()
        await alice.send("webrtc:offer", {"targetPeerId": bob.peer_id, "offer": OFFER})
        assert (await bob.receive("webrtc:offer"))["offer"] == OFFER
