from __future__ import annotations

from channels.layers import InMemoryChannelLayer
from hypothesis import given
from hypothesis import strategies as st

from rooms import codes
from signalling.peers.messages import room_group


def test_a_room_has_a_group_of_its_own() -> None:
    assert room_group("ABC123") == "signalling.room.ABC123"
    assert room_group("ABC-123") != room_group("ABC_123")


@given(st.from_regex(codes._FORM, fullmatch=True))
def test_every_code_makes_a_name_that_channels_accepts(code: str) -> None:
    assert codes.normalise(code) == code
    assert InMemoryChannelLayer().require_valid_group_name(room_group(code))
