from __future__ import annotations

import contextlib
import json
from itertools import product
from time import thread_time
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rooms import exceptions
from signalling import protocol
from signalling.protocol import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    CloseCode,
    ErrorCode,
    FrameLimits,
    FrameRefused,
    ProtocolError,
    Relay,
    decode,
    depth_exceeds,
    encode,
    encode_relay,
    error_event,
)

LIMITS = FrameLimits()
RELAYS = {"webrtc:offer": "offer", "webrtc:answer": "answer", "webrtc:ice": "candidate"}

EXAMPLES: dict[str, dict[str, Any]] = {
    "authenticate": {"token": "a.b.c"},
    "join:room": {"roomCode": "ABC123", "resumable": True, "resumeToken": "t"},
    "leave:room": {},
    "webrtc:offer": {"targetPeerId": "p", "offer": {"type": "offer", "sdp": "v=0\r\n"}},
    "webrtc:answer": {
        "targetPeerId": "p",
        "answer": {"type": "answer", "sdp": "v=0\r\n"},
        "connection": 7,
    },
    "webrtc:ice": {"targetPeerId": "p", "candidate": "candidate:1", "connection": 7},
    "peer:update": {"media": {"audio": True, "screen": False}, "displayName": "Bo"},
    "room:mode": {"mode": "sfu"},
    "sfu:state": {"version": 3, "state": "receiving"},
    "sfu:restart": {"anew": True},
    "ping": {},
}


def frame(event: object, data: object = None, **rest: object) -> str:
    return json.dumps({"event": event, "data": data, **rest})


def refusal(text: str | bytes, limits: FrameLimits = LIMITS) -> FrameRefused:
    with pytest.raises(FrameRefused) as refused:
        decode(text, limits)
    return refused.value


def offer(sdp: str) -> str:
    return frame("webrtc:offer", {"targetPeerId": "p", "offer": {"type": "offer", "sdp": sdp}})


def ice(candidate: str) -> str:
    """A frame with a candidate that is JSON text already."""
    return f'{{"event":"webrtc:ice","data":{{"targetPeerId":"p","candidate":{candidate}}},"id":7}}'


# --- Events in --------------------------------------------------------------------------------


def test_every_client_event_has_an_example() -> None:
    assert set(EXAMPLES) == set(CLIENT_EVENTS)


@pytest.mark.parametrize("event", EXAMPLES)
def test_every_client_event_is_read_as_it_was_written(event: str) -> None:
    request = decode(frame(event, EXAMPLES[event], id=1), LIMITS)
    assert type(request.event) is CLIENT_EVENTS[event]
    assert request.event.event == event
    assert request.id == 1
    assert json.loads(msgspec.json.encode(request.event)) == EXAMPLES[event]


@pytest.mark.parametrize("event", EXAMPLES)
def test_bytes_are_read_like_text(event: str) -> None:
    text = frame(event, EXAMPLES[event], id="é")
    assert decode(text.encode(), LIMITS) == decode(text, LIMITS)


@pytest.mark.parametrize("event", EXAMPLES)
def test_unknown_keys_are_ignored(event: str) -> None:
    data = EXAMPLES[event] | {"fromPeerId": "spoofed", "unknown": [1]}
    request = decode(frame(event, data, unknown=1), LIMITS)
    assert request == decode(frame(event, EXAMPLES[event]), LIMITS)


@pytest.mark.parametrize("text", ['{"event":"ping"}', '{"event":"ping","data":null}'])
def test_an_event_without_data_may_leave_it_out(text: str) -> None:
    assert isinstance(decode(text, LIMITS).event, protocol.Ping)


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert isinstance(decode('{"event":"leave:room","event":"ping"}', LIMITS).event, protocol.Ping)


@pytest.mark.parametrize("request_id", [0, -5, 2**53, 1.5, "", "x" * 128, "é"])
def test_an_id_is_text_or_a_number(request_id: object) -> None:
    assert decode(frame("ping", id=request_id), LIMITS).id == request_id


@pytest.mark.parametrize("request_id", [True, [], {}, ["a"], "x" * 129])
def test_anything_else_is_no_id(request_id: object) -> None:
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
            {"targetPeerId": "p", "candidate": {"sdpMid": 0}},
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
def test_a_bad_request_names_the_path_that_failed(event: str, data: object, path: str) -> None:
    refused = refusal(frame(event, data, id=3))
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": path})
    assert (refused.request_id, refused.request_event) == (3, event)
    assert refused.close is None


@pytest.mark.parametrize("event", ["", "join", "JOIN:ROOM", "room:joined", "error", "x" * 1000])
def test_an_event_that_is_not_in_the_table_is_unknown(event: str) -> None:
    refused = refusal(frame(event, id="a"))
    assert refused.code == ErrorCode.UNKNOWN_EVENT
    assert (refused.request_id, refused.request_event) == ("a", event[:64])


@pytest.mark.parametrize("event", [None, 1, [], {}])
def test_an_event_is_text(event: object) -> None:
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
def test_what_is_no_json_is_bad_json(text: str | bytes) -> None:
    assert refusal(text).code == ErrorCode.BAD_JSON


@pytest.mark.parametrize("text", ["[]", "1", "null", '"ping"', "true"])
def test_json_that_is_no_object_is_a_bad_request(text: str) -> None:
    refused = refusal(text)
    assert (refused.code, refused.details) == (ErrorCode.BAD_REQUEST, {"path": "$"})


@pytest.mark.parametrize("part", [b'"z":"\xff"', b'"\xff":1'])
def test_a_payload_that_is_no_utf_8_is_never_relayed(part: bytes) -> None:
    """Not even where nobody reads it: the receiver would have to."""
    text = b'{"event":"webrtc:offer","data":{"targetPeerId":"p","offer":{"type":"offer","sdp":"",'
    assert refusal(text + part + b"}}}").code == ErrorCode.BAD_JSON


# --- Limits, exact ----------------------------------------------------------------------------


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
        assert refused.request_id is None  # it is not read at all


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


def test_escapes_do_not_count_against_an_sdp() -> None:
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


def test_a_frame_of_nothing_but_brackets_is_refused_and_overflows_nothing() -> None:
    for text in ("[" * 65_536, '{"event":' * 7000, '{"id":' + "[" * 60_000):
        assert refusal(text).code == ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("name", ["", "Bo", "é" * 64, "x" * 64, "😀 ️ تجربة", "a\u200db"])
def test_a_display_name_has_at_most_64_characters(name: str) -> None:
    event = decode(frame("peer:update", {"displayName": name}), LIMITS).event
    assert isinstance(event, protocol.PeerUpdate)
    assert event.changes() == {"display_name": name}


@pytest.mark.parametrize(
    "name",
    ["x" * 65, "é" * 65]
    + [
        f"a{mark}b"
        for mark in "\x00\t\n\r\x1b\x1f\x7f\x80\x85\x9f\u202a\u202b\u202d\u202e\u2066\u2069"
    ]
    + ["trailing\n"],
)
def test_a_display_name_has_no_control_characters(name: str) -> None:
    refused = refusal(frame("peer:update", {"displayName": name}))
    assert refused.details == {"path": "$.data.displayName"}


def test_a_change_of_presence_names_what_changes_and_nothing_else() -> None:
    update = decode(frame("peer:update", {"media": {"video": False, "x": True}}), LIMITS).event
    assert isinstance(update, protocol.PeerUpdate)
    assert update.changes() == {"media": {"video": False}}
    assert protocol.PeerUpdate().changes() == {}


def test_a_site_may_set_other_limits() -> None:
    small = FrameLimits(frame=200, sdp=10, candidate=10, depth=3)
    decode(ice('"12345678"'), small)
    assert refusal(ice('"123456789"'), small).code == ErrorCode.MESSAGE_TOO_LARGE
    decode(offer("x" * 10), small)
    assert refusal(offer("x" * 11), small).code == ErrorCode.MESSAGE_TOO_LARGE
    assert refusal(frame("ping", {"x": [[]]}), small).code == ErrorCode.BAD_REQUEST
    assert refusal(frame("ping", "x" * 200), small).code == ErrorCode.MESSAGE_TOO_LARGE


# --- Whatever comes ---------------------------------------------------------------------------

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
likely_frames = st.fixed_dictionaries(
    {"event": st.sampled_from([*CLIENT_EVENTS, "no:such"]) | json_values},
    optional={
        "data": st.dictionaries(fields, json_values | payloads, max_size=4) | json_values,
        "id": json_values,
    },
)


def is_read_or_refused(text: str | bytes) -> None:
    try:
        request = decode(text, LIMITS)
    except FrameRefused as refused:
        ErrorCode(refused.code)
        json.loads(encode(error_event(refused, refused.request_event), refused.request_id))
        return
    json.loads(encode(protocol.Ack(), request.id))
    if isinstance(request.event, Relay):
        json.loads(encode_relay(request.event, "me"))


@settings(max_examples=1000, deadline=None)
@given(likely_frames)
def test_a_likely_frame_is_read_or_refused(value: object) -> None:
    is_read_or_refused(json.dumps(value))
    is_read_or_refused(json.dumps(value, ensure_ascii=False))


@settings(max_examples=1000, deadline=None)
@given(st.text() | st.text(alphabet='{}[]",:\\ \nevntdaipg01.e-', max_size=200))
@example("\ud800")
@example('{"event":"ping","data":"\ud800"}')
def test_any_text_is_read_or_refused(text: str) -> None:
    is_read_or_refused(text)


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([*EXAMPLES, None]), st.integers(0, 300))
def test_any_bytes_are_read_or_refused(noise: bytes, event: str | None, at: int) -> None:
    good = frame(event, EXAMPLES[event], id=1).encode() if event else b""
    is_read_or_refused(noise)
    is_read_or_refused(good[:at] + noise + good[at:])
    is_read_or_refused(good[:at] + noise[:3] + good[at + 3 :])


def slow_depth(text: str) -> int:
    """Return the depth of a JSON text by reading it."""

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


@settings(max_examples=1000, deadline=None)
@given(nested_values, st.integers(0, 8))
def test_the_depth_is_that_which_a_reader_would_find(value: object, limit: int) -> None:
    text = json.dumps(value)
    assert depth_exceeds(text, limit) == (slow_depth(text) > limit)
    assert depth_exceeds(text.encode(), limit) == (slow_depth(text) > limit)


@pytest.mark.parametrize(
    "prefix", ["[" * 17, '{"event":"ping","data":"' + "[" * 17, '["' + "[" * 17]
)
def test_decoding_hostile_text_is_linear(prefix: str) -> None:
    """A quadratic pattern took 20 s for 64 KiB of ``\\"``, before the identity is checked."""
    limits = FrameLimits()
    alphabet = ("[", "{", "]", '"', "\\", "\\u", "\ud800", "7")
    units = ("".join(unit) for n in (1, 2, 3) for unit in product(alphabet, repeat=n))
    for unit in units:
        hostile = (prefix + unit * limits.frame)[: limits.frame - 2]
        for text in (hostile, hostile + "\\"):
            began = thread_time()
            with contextlib.suppress(FrameRefused):
                decode(text, limits)
            assert thread_time() - began <= 0.05, f"{prefix!r} and then {unit!r}"


# --- Relays -----------------------------------------------------------------------------------

utf8 = st.characters(exclude_categories=["Cs"])  # a lone surrogate is no Unicode text
extras = st.dictionaries(
    st.text(alphabet=utf8, max_size=8).filter(
        lambda key: key not in {"type", "sdp", "candidate", "sdpMid", "sdpMLineIndex"}
    ),
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(alphabet=utf8, max_size=20),
    max_size=3,
)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(["offer", "answer"]),
    st.text(alphabet=utf8, max_size=200),
    extras,
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
def test_a_description_is_relayed_byte_for_byte(
    kind: str, sdp: str, extra: dict[str, Any], ascii_only: bool, indent: int | str | None
) -> None:
    value = {"type": kind, "sdp": sdp, **extra}
    payload = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    text = f'{{"event":"webrtc:{kind}","data":{{"targetPeerId":"p","x":1,"{kind}": {payload} }}}}'
    event = decode(text, LIMITS).event
    assert isinstance(event, Relay)
    relayed = encode_relay(event, "peer_me")
    assert relayed == (
        f'{{"event":"webrtc:{kind}","data":{{"targetPeerId":"p","{kind}":{payload},'
        '"fromPeerId":"peer_me"}}'
    )
    assert json.loads(relayed)["data"][kind] == value


@pytest.mark.parametrize(
    "payload",
    [
        '"candidate:1 1 UDP 2130706431 192.0.2.1 54321 typ host"',
        '""',
        "null",
        "{}",
        '{ "candidate" : "\\u0063andidate:1" , "sdpMid":null,"sdpMLineIndex":0}',
        '{"candidate":"","usernameFragment":"ab","number":1.50,"big":1e2}',
    ],
)
def test_a_candidate_is_relayed_byte_for_byte(payload: str) -> None:
    event = decode(ice(payload), LIMITS).event
    assert isinstance(event, Relay)
    assert f'"candidate":{payload},"fromPeerId":"me"' in encode_relay(event, "me")


@pytest.mark.parametrize("event", RELAYS)
def test_a_relay_knows_its_payload(event: str) -> None:
    request = decode(frame(event, EXAMPLES[event]), LIMITS).event
    assert isinstance(request, Relay)
    assert json.loads(bytes(request.payload)) == EXAMPLES[event][RELAYS[event]]


# --- Events out -------------------------------------------------------------------------------


def test_every_error_of_the_domain_that_a_socket_can_meet_has_its_code() -> None:
    on_rest_alone = {exceptions.CodeTaken}
    for refused in exceptions.RoomError.__subclasses__():
        assert refused in on_rest_alone or refused.code in set(ErrorCode), refused


def test_an_error_leaves_out_what_it_does_not_know() -> None:
    error = error_event(ProtocolError(ErrorCode.PEER_NOT_FOUND, "No such peer."))
    assert json.loads(encode(error)) == {
        "event": "error",
        "data": {"code": "peer_not_found", "message": "No such peer."},
    }


def test_the_details_of_an_error_lie_beside_its_code() -> None:
    refused = ProtocolError(ErrorCode.ROOM_FULL, "Full.", limit=10, mode="p2p", retry_after=1.5)
    assert json.loads(encode(error_event(refused, "join:room"), "id")) == {
        "event": "error",
        "data": {
            "code": "room_full",
            "message": "Full.",
            "event": "join:room",
            "limit": 10,
            "mode": "p2p",
            "retryAfter": 1.5,
        },
        "id": "id",
    }


def test_what_an_event_must_say_it_says_even_if_there_is_nothing() -> None:
    joined = protocol.RoomJoined(
        room_id="room_a",
        peer_id="p",
        peers=[],
        mode="p2p",
        ice_servers=[],
        ice_expires_at=None,
        role="member",
        limits=protocol.Limits(p2p=10, total=50, mesh_kbps=[900]),
        resumed=False,
    )
    assert json.loads(encode(joined))["data"] == {
        "roomId": "room_a",
        "peerId": "p",
        "peers": [],
        "mode": "p2p",
        "iceServers": [],
        "iceExpiresAt": None,
        "role": "member",
        "limits": {"p2p": 10, "total": 50, "meshKbps": [900]},
        "resumed": False,
    }


@pytest.mark.parametrize("event", [protocol.Ack(), protocol.Pong()])
def test_an_event_without_data_has_empty_data(event: protocol.ServerEvent) -> None:
    assert json.loads(encode(event, 0)) == {"event": event.event, "data": {}, "id": 0}


def test_the_tables_hold_every_event_under_its_own_name() -> None:
    for table, base in (
        (CLIENT_EVENTS, protocol.ClientEvent),
        (SERVER_EVENTS, protocol.ServerEvent),
    ):
        assert all(name == struct.event for name, struct in table.items())
        named = {struct for struct in all_subclasses(base) if hasattr(struct, "event")}
        assert named == set(table.values())


def all_subclasses(base: type[Any]) -> set[type[Any]]:
    found = set(base.__subclasses__())
    return found.union(*(all_subclasses(subclass) for subclass in found))


def test_the_application_closes_with_codes_that_daphne_lets_it() -> None:
    assert all(code == 1000 or 4000 <= code <= 4999 for code in CloseCode)
