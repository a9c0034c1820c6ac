"""The peers of a fake peer's call."""

from __future__ import annotations

from unittest.mock import Mock

from fake_peers.call import Call


def test_a_second_announcement_of_a_peer_keeps_its_connection() -> None:
    call = Call(Mock(), on_change=Mock())
    call.add("bob")
    bob = call.peers["bob"]
    call.add("bob")
    assert [*call.peers] == ["bob"]
    assert call.peers["bob"] is bob
