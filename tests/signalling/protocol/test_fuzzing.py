"""Any input is decoded or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from signalling import protocol
from signalling.protocol import (
    CLIENT_EVENTS,
    ErrorCode,
    FrameRefused,
    Relay,
    decode,
    depth_exceeds,
    encode,
    encode_relay,
    error_event,
)
from tests.effort import effort
from tests.signalling.protocol.frames import EXAMPLES, LIMITS, frame

pytestmark = pytest.mark.usefixtures("untraced")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
fields = st.sampled_from(
    ["token", "roomCode", "targetPeerId", "offer", "answer", "candidate", "media", "displayName"]
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["offer", "answer", 1]),
        "sdp": json_values,
        "candidate": json_values,
        "sdpMid": json_values,
        "sdpMLineIndex": json_values,
        "audio": json_values,
    },
)
plausible_frames = st.fixed_dictionaries(
    {"event": st.sampled_from([*CLIENT_EVENTS, "no:such"]) | json_values},
    optional={
        "data": st.dictionaries(fields, json_values | payloads, max_size=4) | json_values,
        "id": json_values,
    },
)


def check_decode(text: str | bytes) -> None:
    try:
        request = decode(text, LIMITS)
    except FrameRefused as refused:
        ErrorCode(refused.code)
        json.loads(encode(error_event(refused, refused.request_event), refused.request_id))
        return
    json.loads(encode(protocol.Ack(), request.id))
    if isinstance(request.event, Relay):
        json.loads(encode_relay(request.event, "me"))


@settings(max_examples=effort(200), deadline=None)
@given(plausible_frames)
def test_plausible_frames_are_decoded_or_refused(value: object) -> None:
    check_decode(json.dumps(value))
    check_decode(json.dumps(value, ensure_ascii=False))


@settings(max_examples=effort(200), deadline=None)
@given(st.text() | st.text(alphabet='{}[]",:\\ \nevntdaipg01.e-', max_size=200))
@example("\ud800")
@example('{"event":"ping","data":"\ud800"}')
def test_any_text_is_decoded_or_refused(text: str) -> None:
    check_decode(text)


@settings(max_examples=effort(200), deadline=None)
@given(st.binary(max_size=200), st.sampled_from([*EXAMPLES, None]), st.integers(0, 300))
def test_any_bytes_are_decoded_or_refused(noise: bytes, event: str | None, at: int) -> None:
    good = frame(event, EXAMPLES[event], id=1).encode() if event else b""
    check_decode(noise)
    check_decode(good[:at] + noise + good[at:])
    check_decode(good[:at] + noise[:3] + good[at + 3 :])


def parsed_depth(text: str) -> int:
    """Return the depth of a JSON text by parsing it."""

    def depth(value: object) -> int:
        if isinstance(value, dict):
            return 1 + max(map(depth, value.values()), default=0)
        if isinstance(value, list):
            return 1 + max(map(depth, value), default=0)
        return 0

    return depth(json.loads(text))


brackets = st.text(alphabet='{}[]"\\ab', max_size=12)
nested_values = st.recursive(
    st.none() | st.integers() | brackets,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(brackets, inner, max_size=3),
    max_leaves=30,
)


@settings(max_examples=effort(200), deadline=None)
@given(nested_values, st.integers(0, 8))
def test_the_depth_is_that_of_the_parsed_json(value: object, limit: int) -> None:
    text = json.dumps(value)
    assert depth_exceeds(text, limit) == (parsed_depth(text) > limit)
    assert depth_exceeds(text.encode(), limit) == (parsed_depth(text) > limit)
