"""What clients write for candidates and answers: accepted, and relayed with the types of the W3C."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signalling.protocol import ErrorCode, WebrtcIce, decode, encode_relay
from tests.signalling.protocol.frames import LIMITS, frame, ice, refusal

LINE = '"candidate":"candidate:1 1 udp 1 192.0.2.1 9 typ host"'
UNCHANGED = {
    "browsers": f'{{{LINE},"sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"EEtu"}}',
    "react-native-webrtc": f'{{{LINE},"sdpMLineIndex":0,"sdpMid":"0"}}',
    "react-native-webrtc, without a section": f'{{{LINE},"sdpMLineIndex":0,"sdpMid":null}}',
    "flutter-webrtc before null safety": f'{{{LINE},"sdpMid":"0","sdpMlineIndex":0}}',
    "pion": f'{{{LINE},"sdpMid":"","sdpMLineIndex":0,"usernameFragment":null}}',
    "aiortc": f'{{{LINE}, "id": "0", "label": 0, "type": "candidate"}}',
    "white space and escapes": f'{{ {LINE} , "sdpMid":"\\u0030","x":[1,  2.0]}}',
    "the end of candidates": '{"candidate":""}',
    "an empty object": "{}",
}
NORMALISED = {
    "a string for the index": (
        f'{{{LINE},"sdpMid":"0","sdpMLineIndex":"0","usernameFragment":null}}',
        f'{{{LINE},"sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}}',
    ),
    "a number for the mid": (
        f'{{{LINE},"sdpMLineIndex":1,"sdpMid":1,"ufrag":"EEtu"}}',
        f'{{{LINE},"sdpMLineIndex":1,"sdpMid":"1","ufrag":"EEtu"}}',
    ),
    "decimal points": ('{"sdpMid":0.0,"sdpMLineIndex":1.0}', '{"sdpMid":"0","sdpMLineIndex":1}'),
    "no candidate": (
        '{"candidate":null,"sdpMid":"0","sdpMLineIndex":0}',
        '{"candidate":"","sdpMid":"0","sdpMLineIndex":0}',
    ),
    "the largest index": ('{"sdpMLineIndex":"65535"}', '{"sdpMLineIndex":65535}'),
    "other members stay": (
        '{"x":[1,  2.0],"sdpMid":0,"sdpMLineIndex":null}',
        '{"x":[1,  2.0],"sdpMid":"0","sdpMLineIndex":null}',
    ),
    "the last of duplicate keys counts": ('{"sdpMid":0,"sdpMid":1}', '{"sdpMid":"1"}'),
}


def relayed(candidate: str) -> str:
    """Return the text of a candidate in the frame for the target."""
    event = decode(ice(candidate), LIMITS).event
    assert isinstance(event, WebrtcIce)
    text = bytes(event.candidate).decode()
    assert f'"candidate":{text},' in encode_relay(event, "me")
    return text


@pytest.mark.parametrize("candidate", UNCHANGED.values(), ids=UNCHANGED)
def test_a_candidate_of_the_w3c_is_relayed_byte_for_byte(candidate: str) -> None:
    assert relayed(candidate) == candidate


@pytest.mark.parametrize(("sent", "received"), NORMALISED.values(), ids=NORMALISED)
def test_other_types_are_converted(sent: str, received: str) -> None:
    assert relayed(sent) == received


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("sdpMid", ["true", "-1", "0.5", "65536", "[]", "{}", "1e999"]),
        ("sdpMLineIndex", ['""', '"a"', '"-1"', '"0.5"', '"65536"', '"0\\n"', '"٣"', "-1", "0.5"]),
        ("sdpMLineIndex", ["65536", "true", "[]", '"000000"']),
        ("candidate", ["0", "true", "[]", "{}"]),
    ],
)
def test_values_without_a_meaning_are_refused(member: str, values: list[str]) -> None:
    for value in values:
        refused = refusal(ice(f'{{"{member}":{value}}}'))
        assert refused.code in {ErrorCode.BAD_REQUEST, ErrorCode.BAD_JSON}, value
        if refused.code == ErrorCode.BAD_REQUEST:
            assert refused.details == {"path": f"$.data.candidate.{member}"}, value
        assert refused.request_id == 7


def test_the_size_is_that_of_the_candidate_as_it_was_sent() -> None:
    text = '{"sdpMLineIndex":"0","x":"%s"}'
    fits = text % ("x" * (4096 - len(text) + 2))
    assert json.loads(relayed(fits))["sdpMLineIndex"] == 0
    assert refusal(ice(fits.replace("xx", "xxx", 1))).code == ErrorCode.MESSAGE_TOO_LARGE


# --- Provisional answers ------------------------------------------------------------------------


def answer_to(target: str, kind: str) -> dict[str, Any]:
    return {"targetPeerId": target, "answer": {"type": kind, "sdp": "v=0"}}


def test_a_provisional_answer_is_relayed() -> None:
    event: Any = decode(frame("webrtc:answer", answer_to("p", "pranswer")), LIMITS).event
    assert json.loads(encode_relay(event, "me"))["data"]["answer"]["type"] == "pranswer"


@pytest.mark.parametrize(
    ("target", "kind"),
    [("p", "offer"), ("p", "rollback"), ("p", "ANSWER"), ("sfu:subscribe", "pranswer")],
)
def test_what_does_not_answer_is_refused(target: str, kind: str) -> None:
    refused = refusal(frame("webrtc:answer", answer_to(target, kind), id=1))
    assert (refused.code, refused.details) == (
        ErrorCode.BAD_REQUEST,
        {"path": "$.data.answer.type"},
    )
