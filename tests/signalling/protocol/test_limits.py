"""The exact limits of frames, SDP, candidates, depth and display names."""

from __future__ import annotations

import json

import pytest

from signalling import protocol
from signalling.protocol import (
    CloseCode,
    ErrorCode,
    FrameLimits,
    decode,
)
from tests.signalling.protocol.frames import LIMITS, frame, ice, offer, refusal


@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_a_frame_has_at_most_65536_bytes(character: str) -> None:
    empty = '{"event":"ping","data":{"x":""}}'
    room = 65_536 - len(empty)
    fill = character * (room // len(character.encode()))
    text = empty.replace('""', f'"{fill}"')
    text += " " * (65_536 - len(text.encode()))
    for exact in (text, text.encode()):
        decode(exact, LIMITS)
    for over in (text + " ", text.encode() + b" "):
        refused = refusal(over)
        assert refused.code == ErrorCode.MESSAGE_TOO_LARGE
        assert refused.close == CloseCode.PROTOCOL_VIOLATIONS


@pytest.mark.parametrize("event", ["offer", "answer"])
@pytest.mark.parametrize("character", ["x", "é"])
def test_an_sdp_has_at_most_49152_bytes(event: str, character: str) -> None:
    def text(sdp: str) -> str:
        data = {"targetPeerId": "p", event: {"type": event, "sdp": sdp}}
        return json.dumps({"event": f"webrtc:{event}", "data": data}, ensure_ascii=False)

    sdp = character * (49_152 // len(character.encode()))
    decode(text(sdp), LIMITS)
    refused = refusal(text(sdp + "x"))
    assert (refused.code, refused.details) == (
        ErrorCode.MESSAGE_TOO_LARGE,
        {"path": f"$.data.{event}"},
    )
    assert refused.close is None
    assert refused.request_event == f"webrtc:{event}"


def test_json_escapes_do_not_count_towards_the_size_of_an_sdp() -> None:
    lines = "\r\n" * (49_152 // 4)  # two bytes in an SDP, four in JSON
    assert len(offer(lines)) > 49_152
    decode(offer(lines), LIMITS)


@pytest.mark.parametrize("form", ['"%s"', '{"candidate":"%s"}', '{"candidate":"","x":"%s"}'])
def test_a_candidate_has_at_most_4096_bytes_as_json(form: str) -> None:
    room = 4096 - len(form % "")
    decode(ice(form % ("x" * room)), LIMITS)
    refused = refusal(ice(form % ("x" * (room + 1))))
    assert (refused.code, refused.details) == (
        ErrorCode.MESSAGE_TOO_LARGE,
        {"path": "$.data.candidate"},
    )
    assert (refused.request_id, refused.close) == (7, None)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"x":', "}")])
def test_a_frame_is_at_most_16_levels_deep(opening: str, closing: str) -> None:
    def text(levels: int) -> str:
        nested = opening * (levels - 2) + "1" + closing * (levels - 2)
        return f'{{"event":"ping","data":{{"x":{nested}}},"id":9}}'

    decode(text(16), LIMITS)
    refused = refusal(text(17))
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": "$"})
    assert refused.request_id == 9


def test_a_frame_of_brackets_is_refused_without_a_recursion_error() -> None:
    for text in ("[" * 65_536, '{"event":' * 7000, '{"id":' + "[" * 60_000):
        assert refusal(text).code == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("name", ["", "Bo", "é" * 64, "x" * 64, "😀 ️ تجربة", "a\u200db"])
def test_a_display_name_has_at_most_64_characters(name: str) -> None:
    event = decode(frame("peer:update", {"displayName": name}), LIMITS).event
    assert isinstance(event, protocol.PeerUpdate)
    assert event.changes() == {"display_name": name}


@pytest.mark.parametrize("name", ["x" * 65, "é" * 65])
def test_a_longer_display_name_is_refused(name: str) -> None:
    refused = refusal(frame("peer:update", {"displayName": name}))
    assert refused.details == {"path": "$.data.displayName"}


def test_a_peer_update_contains_only_the_changes() -> None:
    update = decode(frame("peer:update", {"media": {"video": False, "x": True}}), LIMITS).event
    assert isinstance(update, protocol.PeerUpdate)
    assert update.changes() == {"media": {"video": False}}
    assert protocol.PeerUpdate().changes() == {}


def test_the_limits_are_configurable() -> None:
    small = FrameLimits(frame=200, sdp=10, candidate=10, depth=3)
    decode(ice('"12345678"'), small)
    assert refusal(ice('"123456789"'), small).code == ErrorCode.MESSAGE_TOO_LARGE
    decode(offer("x" * 10), small)
    assert refusal(offer("x" * 11), small).code == ErrorCode.MESSAGE_TOO_LARGE
    assert refusal(frame("ping", {"x": [[]]}), small).code == ErrorCode.BAD_REQUEST
    assert refusal(frame("ping", "x" * 200), small).code == ErrorCode.MESSAGE_TOO_LARGE
