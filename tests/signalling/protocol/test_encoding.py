"""Relays and server events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms import exceptions
from signalling import protocol
from signalling.protocol import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    CloseCode,
    ErrorCode,
    ProtocolError,
    Relay,
    decode,
    encode,
    encode_relay,
    error_event,
)
from tests.effort import effort
from tests.signalling.protocol.frames import EXAMPLES, LIMITS, RELAYS, frame, ice

# --- Relays -----------------------------------------------------------------------------------

utf8 = st.characters(exclude_categories=["Cs"])  # a lone surrogate is no Unicode text
extras = st.dictionaries(
    st.text(alphabet=utf8, max_size=8).filter(
        lambda key: key not in {"type", "sdp", "candidate", "sdpMid", "sdpMLineIndex"}
    ),
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(alphabet=utf8, max_size=20),
    max_size=3,
)


@settings(max_examples=effort(200), deadline=None)
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
def test_a_relay_exposes_its_payload(event: str) -> None:
    request = decode(frame(event, EXAMPLES[event]), LIMITS).event
    assert isinstance(request, Relay)
    assert json.loads(bytes(request.payload)) == EXAMPLES[event][RELAYS[event]]


# --- Events out -------------------------------------------------------------------------------


def test_every_domain_error_has_an_error_code_unless_it_occurs_in_rest_only() -> None:
    in_rest_only = {exceptions.CodeTaken, exceptions.TooManyRooms}
    for refused in exceptions.RoomError.__subclasses__():
        assert refused in in_rest_only or refused.code in set(ErrorCode), refused


def test_an_error_omits_unknown_details() -> None:
    error = error_event(ProtocolError(ErrorCode.PEER_NOT_FOUND, "No such peer."))
    assert json.loads(encode(error)) == {
        "event": "error",
        "data": {"code": "peer_not_found", "message": "No such peer."},
    }


def test_the_details_of_an_error_are_next_to_its_code() -> None:
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


def test_required_fields_are_sent_even_if_empty() -> None:
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


def test_the_tables_contain_every_event_by_name() -> None:
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


def test_close_codes_are_those_that_servers_allow() -> None:
    assert all(code == 1000 or 4000 <= code <= 4999 for code in CloseCode)
