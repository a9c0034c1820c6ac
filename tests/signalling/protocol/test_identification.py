"""Every refusal has the id and the event name of its frame, as far as they can be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalling.protocol import ErrorCode, FrameLimits, identify
from signalling.protocol.identification import TOKENS
from tests.effort import effort
from tests.signalling.protocol.frames import refusal

JOIN = '"event":"join:room"'
SURROGATE = r'"\ud83d"'
FAULTS = {
    "half of a surrogate pair": f'"data":{{"roomCode":{SURROGATE}}}',
    "half of a surrogate pair in a key": f'"data":{{{SURROGATE}:1}}',
    "an unpaired surrogate as a character": '"data":{"roomCode":"\ud83d"}',
    "NaN": '"data":{"roomCode":NaN}',
    "a control character": '"data":{"roomCode":"a\nb"}',
    "an invalid escape": r'"data":{"roomCode":"\x"}',
    "an unquoted key": '"data":{roomCode:"ABC123"}',
    "a trailing comma": '"data":{"roomCode":"ABC123",}',
    "a missing value": '"data":',
    "no event": '"data":{},"event":null',
    "a wrong type": '"data":{"roomCode":[1]}',
    "an unknown event": '"event":"no:such"',
    "a deep value": f'"data":{"[" * 17}{"]" * 17}',
    "a very deep value": f'"data":{"[" * 500}{"]" * 500}',
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize(
    "form", ['{%s,%s,"id":7}', '{"id":7,%s,%s}', '{%s,"id":"a",%s,"i\\u0064":7 }']
)
def test_the_id_is_read_before_and_after_a_fault(form: str, fault: str) -> None:
    text = form % (JOIN, fault)
    for frame in (text, text.encode("utf-8", "surrogatepass")):
        assert refusal(frame).request_id == 7
    if '"event"' not in fault:
        assert refusal(text).request_event == "join:room"


def test_an_id_before_a_value_that_no_decoder_reads_is_read() -> None:
    assert refusal('{"id":7,"event":"ping","data":%s' % ("[" * 60_000)).request_id == 7


def test_an_invalid_utf_8_sequence_hides_no_id() -> None:
    frame = b'{"event":"join:room","data":{"roomCode":"\xff"},"id":"\xc3\xa9"}'
    refused = refusal(frame)
    assert (refused.code, refused.request_id) == (ErrorCode.BAD_JSON, "é")


@pytest.mark.parametrize(
    "frame",
    [
        '{"x":NaN}',
        '{"x":NaN,"id":null}',
        '{"x":NaN,"id":true}',
        '{"x":NaN,"id":[7]}',
        '{"x":NaN,"id":7,"id":{}}',  # the last of duplicate keys counts
        f'{{"x":NaN,"id":{SURROGATE}}}',
        '{"x":NaN,"id":"%s"}' % ("x" * 129),
        '{"x":NaN,"id":01}',
        '{"x":NaN,"id":1 2}',
        '{"x":NaN,"id":1',  # the number may go on
        '{"x":NaN,"id":"1',
        r'{"x":NaN,"id":"1\"}',
        '{"x":NaN,"data":{"id":7}}',
        '{"x":NaN,"data":"\\",\\"id\\":7}"}',
        '{"x":NaN}{"id":7}',
        '{"x":NaN}},{"id":7}',
        '["x",NaN,{"id":7}]',
        '"id":7',
        "\ud83d",
        b'{"x":NaN,"id":"\xff"}',
        '{"x":NaN,%s"id":7}' % ('"a":1,' * (TOKENS // 4)),
    ],
)
def test_what_is_not_the_id_of_the_frame_is_not_returned(frame: str | bytes) -> None:
    assert identify(frame)[0] is None


@pytest.mark.parametrize("size", [100, 8192])
def test_only_the_beginning_of_an_oversized_frame_is_read(size: int) -> None:
    limits = FrameLimits(frame=size)
    start = '{"event":"ping","id":7,"data":"'
    refused = refusal(start + "x" * size, limits)
    assert (refused.code, refused.request_id) == (ErrorCode.MESSAGE_TOO_LARGE, 7)
    assert refusal('{"data":"%s","id":7}' % ("x" * size), limits).request_id is None
    assert refusal(f'{{"id":{"7" * size}}}', limits).request_id is None


keys = st.sampled_from(["id", "event", "x"])
values = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(alphabet='"\\{}[]:, aé\ud800', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=effort(100), deadline=None)
@given(st.lists(st.tuples(keys, values), max_size=5), st.booleans())
def test_the_id_is_that_of_the_parsed_json(
    pairs: list[tuple[str, object]], is_escaped: bool
) -> None:
    texts = [json.dumps(value, ensure_ascii=is_escaped) for _, value in pairs]
    members = [f'"{key}": {text}' for (key, _), text in zip(pairs, texts, strict=True)]
    parsed = json.loads("{" + ", ".join(members) + "}")
    request_id, event = parsed.get("id"), parsed.get("event")
    has_id = isinstance(request_id, int) or is_text(request_id)
    expected = request_id if has_id else None, event if is_text(event) else None
    assert identify("{" + ", ".join(members) + "}") == expected
    assert identify("{" + ", ".join([*members, '"y": NaN'])) == expected


def is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)
