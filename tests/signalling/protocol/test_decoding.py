"""Decoding of client events, and the errors for invalid frames."""

from __future__ import annotations

import json

import msgspec
import pytest

from signalling import protocol
from signalling.protocol import (
    CLIENT_EVENTS,
    ErrorCode,
    decode,
)
from tests.signalling.protocol.frames import EXAMPLES, LIMITS, frame, refusal


def test_every_client_event_has_an_example() -> None:
    assert set(EXAMPLES) == set(CLIENT_EVENTS)


@pytest.mark.parametrize("event", EXAMPLES)
def test_every_client_event_round_trips(event: str) -> None:
    request = decode(frame(event, EXAMPLES[event], id=1), LIMITS)
    assert type(request.event) is CLIENT_EVENTS[event]
    assert request.event.event == event
    assert request.id == 1
    assert json.loads(msgspec.json.encode(request.event)) == EXAMPLES[event]


@pytest.mark.parametrize("event", EXAMPLES)
def test_bytes_are_decoded_like_text(event: str) -> None:
    text = frame(event, EXAMPLES[event], id="é")
    assert decode(text.encode(), LIMITS) == decode(text, LIMITS)


@pytest.mark.parametrize("event", EXAMPLES)
def test_unknown_keys_are_ignored(event: str) -> None:
    data = EXAMPLES[event] | {"fromPeerId": "spoofed", "unknown": [1]}
    request = decode(frame(event, data, unknown=1), LIMITS)
    assert request == decode(frame(event, EXAMPLES[event]), LIMITS)


@pytest.mark.parametrize("text", ['{"event":"ping"}', '{"event":"ping","data":null}'])
def test_data_may_be_omitted_if_the_event_has_none(text: str) -> None:
    assert isinstance(decode(text, LIMITS).event, protocol.Ping)


def test_the_last_of_duplicate_keys_counts() -> None:
    assert isinstance(decode('{"event":"leave:room","event":"ping"}', LIMITS).event, protocol.Ping)


@pytest.mark.parametrize("request_id", [0, -5, 2**53, 1.5, "", "x" * 128, "é"])
def test_an_id_is_a_string_or_a_number(request_id: object) -> None:
    assert decode(frame("ping", id=request_id), LIMITS).id == request_id


@pytest.mark.parametrize("request_id", [True, [], {}, ["a"], "x" * 129])
def test_any_other_id_is_a_bad_request(request_id: object) -> None:
    refused = refusal(frame("ping", id=request_id))
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": "$.id"})
    assert refused.request_id is None


@pytest.mark.parametrize(
    ("event", "data", "path"),
    [
        ("authenticate", {}, "$.data"),
        ("authenticate", {"token": 1}, "$.data.token"),
        ("authenticate", {"token": "x" * 16_385}, "$.data.token"),
        ("join:room", None, "$.data"),
        ("join:room", [], "$.data"),
        ("join:room", "ABC123", "$.data"),
        ("join:room", {"roomCode": None}, "$.data.roomCode"),
        ("join:room", {"roomCode": "x" * 65}, "$.data.roomCode"),
        ("webrtc:offer", {"offer": {"type": "offer", "sdp": ""}}, "$.data"),
        ("webrtc:offer", {"targetPeerId": "p"}, "$.data"),
        ("webrtc:offer", {"targetPeerId": "p", "offer": None}, "$.data.offer"),
        ("webrtc:offer", {"targetPeerId": "p", "offer": "v=0"}, "$.data.offer"),
        ("webrtc:offer", {"targetPeerId": "p", "offer": {"type": "offer"}}, "$.data.offer"),
        (
            "webrtc:offer",
            {"targetPeerId": "p", "offer": {"type": "answer", "sdp": ""}},
            "$.data.offer.type",
        ),
        (
            "webrtc:answer",
            {"targetPeerId": "p", "answer": {"type": "answer", "sdp": 1}},
            "$.data.answer.sdp",
        ),
        ("webrtc:ice", {"targetPeerId": 1, "candidate": ""}, "$.data.targetPeerId"),
        ("webrtc:ice", {"targetPeerId": "x" * 65, "candidate": ""}, "$.data.targetPeerId"),
        ("webrtc:ice", {"targetPeerId": "p", "candidate": 1}, "$.data.candidate"),
        ("webrtc:ice", {"targetPeerId": "p", "candidate": []}, "$.data.candidate"),
        (
            "webrtc:ice",
            {"targetPeerId": "p", "candidate": {"sdpMid": True}},
            "$.data.candidate.sdpMid",
        ),
        (
            "webrtc:ice",
            {"targetPeerId": "p", "candidate": {"sdpMLineIndex": 65_536}},
            "$.data.candidate.sdpMLineIndex",
        ),
        ("peer:update", {"media": {"audio": "yes"}}, "$.data.media.audio"),
        ("peer:update", {"media": None}, "$.data.media"),
        ("peer:update", {"displayName": 5}, "$.data.displayName"),
    ],
)
def test_a_bad_request_names_the_invalid_path(event: str, data: object, path: str) -> None:
    refused = refusal(frame(event, data, id=3))
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": path})
    assert (refused.request_id, refused.request_event) == (3, event)
    assert refused.close is None


@pytest.mark.parametrize("event", ["", "join", "JOIN:ROOM", "room:joined", "error", "x" * 1000])
def test_an_unlisted_event_is_unknown(event: str) -> None:
    refused = refusal(frame(event, id="a"))
    assert refused.code == ErrorCode.UNKNOWN_EVENT
    assert (refused.request_id, refused.request_event) == ("a", event[:64])


@pytest.mark.parametrize("event", [None, 1, [], {}])
def test_an_event_must_be_a_string(event: object) -> None:
    refused = refusal(frame(event, id=1))
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": "$.event"})
    assert (refused.request_id, refused.request_event) == (1, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "ping",
        "{'event':'ping'}",
        '{"event":"ping"}{}',
        '{"event":"ping",}',
        '{"event":"ping","id":NaN}',
        '{"event":"p\ning"}',
        '{"event":"\\ud800"}',
        '{"event":"ping","x":"\ud800"}',
        b"\xff",
        b'\xef\xbb\xbf{"event":"ping"}',
    ],
)
def test_invalid_json_is_bad_json(text: str | bytes) -> None:
    assert refusal(text).code == ErrorCode.BAD_JSON


@pytest.mark.parametrize("text", ["[]", "1", "null", '"ping"', "true"])
def test_json_other_than_an_object_is_a_bad_request(text: str) -> None:
    refused = refusal(text)
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": "$"})


@pytest.mark.parametrize("part", [b'"z":"\xff"', b'"\xff":1'])
def test_a_payload_with_invalid_utf_8_is_refused(part: bytes) -> None:
    """Even where the server does not read it: the receiving peer would have to."""
    text = b'{"event":"webrtc:offer","data":{"targetPeerId":"p","offer":{"type":"offer","sdp":"",'
    assert refusal(text + part + b"}}}").code == ErrorCode.BAD_JSON
