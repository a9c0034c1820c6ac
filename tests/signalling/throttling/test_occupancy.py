"""The limits of open sockets."""

from __future__ import annotations

import pytest

from signalling.protocol import CloseCode, ErrorCode, ProtocolError
from signalling.throttling import occupancy
from signalling.throttling.occupancy import Occupancy, UserPlace


def test_a_key_has_room_for_so_many() -> None:
    sockets = Occupancy()
    assert [sockets.enter("a", 2) for _ in range(3)] == [True, True, False]
    assert sockets.enter("b", 2)
    sockets.leave("a")
    assert [sockets.enter("a", 2) for _ in range(2)] == [True, False]


def test_keys_without_sockets_are_forgotten() -> None:
    sockets = Occupancy()
    assert not sockets.enter("a", 0)
    assert sockets.enter("b", 1)
    sockets.leave("b")
    assert len(sockets) == 0


def test_a_socket_has_one_place() -> None:
    """Also if it renews its token, or sends that of another user."""
    with UserPlace(1) as place:
        place.take(1)
        place.take(1)
        place.take(2)
        with UserPlace(1) as other, pytest.raises(ProtocolError) as caught:
            other.take(1)
        assert caught.value.code == ErrorCode.RATE_LIMITED
        assert caught.value.close == CloseCode.FLOOD
        assert caught.value.details["retry_after"] > 0
        with UserPlace(1) as other:
            other.take(2)
    with UserPlace(1) as place:
        place.take(1)
    assert len(occupancy.users) == 0
