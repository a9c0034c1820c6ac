"""Group names, and channel-layer messages about a room's mode."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from rooms import codes
from rooms.clock import clock
from rooms.models import Participant, Room
from signalling import protocol
from signalling.peers.messages import (
    announced_mode,
    away,
    held_state,
    left,
    mode_changed,
    room_group,
)
from signalling.sfu import routes
from signalling.sfu.mode import Mode

UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


def test_each_room_has_its_own_group() -> None:
    assert room_group("ABC123") == "signalling.room.ABC123"
    assert room_group("ABC-123") != room_group("ABC_123")


@given(st.from_regex(codes._FORM, fullmatch=True))
def test_channels_accepts_the_group_name_of_every_room_code(code: str) -> None:
    assert codes.normalise(code) == code
    assert InMemoryChannelLayer().require_valid_group_name(room_group(code))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mode": Room.Mode.SFU, "mode_version": 3, "sfu": "default", "total_limit": 25},
        {"mode": Room.Mode.SFU, "mode_version": 4, "sfu": "second", "switching_until": UNTIL},
    ],
    ids=["mesh", "sfu", "switching"],
)
def test_an_announced_mode_is_the_mode_of_the_room(fields: dict[str, Any]) -> None:
    room = Room(code="ABC123", **fields)
    message = mode_changed(room, "committed")
    assert announced_mode(message) == Mode.of(room)
    assert announced_mode(json.loads(json.dumps(message))) == Mode.of(room)
    assert (message["room"], message["reason"], message["surplus"]) == ("ABC123", "committed", [])
    assert message["until"] == (UNTIL.isoformat() if room.is_switching else "")


def test_an_announced_mode_names_the_surplus_peers() -> None:
    surplus = [Participant(peer_id="peer_1"), Participant(peer_id="peer_2")]
    message = mode_changed(Room(code="ABC123"), "timeout", surplus)
    assert message["surplus"] == ["peer_1", "peer_2"]


def test_a_leave_and_an_absence_need_no_join_number() -> None:
    for message in (left("ABC123", "peer_x", "left"), away("ABC123", "peer_x", "c!x", UNTIL)):
        assert (message["room"], message["peer_id"], message["number"]) == ("ABC123", "peer_x", 0)


@pytest.mark.parametrize("name", ["received", "heard"])
def test_the_relay_counters_of_an_earlier_build_are_read(name: str) -> None:
    stored = {"frames": [["peer_x", 4, "{}"]], "sent": {"peer_x": 1}, "gap": True}
    assert held_state({**stored, name: {"peer_x": 4}}) == {
        "frames": [("peer_x", 4, "{}")],
        "sent": {"peer_x": 1},
        "received": {"peer_x": 4},
        "gap": True,
    }


async def test_clients_get_deadlines_that_do_not_depend_on_their_clocks() -> None:
    until = clock.now() + timedelta(seconds=30)
    data = json.loads(away("ABC123", "peer_1", "channel", until)["frame"])["data"]
    assert data["until"] == until.isoformat()
    assert 25 < data["seconds"] <= 30
    mode = Mode("p2p", 1, False, "", 10)
    event = routes.event(mode, "ABC123", "peer_1", reason="host", until=until.isoformat())
    assert isinstance(event.seconds, float)
    assert 25 < event.seconds <= 30
    assert "seconds" not in protocol.encode(routes.event(mode, "ABC123", "peer_1", reason="host"))
