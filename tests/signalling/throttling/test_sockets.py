from __future__ import annotations

from typing import Any

import pytest

from signalling.conf import SignallingSettings
from signalling.protocol import CloseCode, ProtocolError
from signalling.throttling import buckets
from signalling.throttling.sockets import SocketLimits


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test moves."""
    clock = Clock()
    original = buckets.TokenBucket

    def bucket(rate: float, burst: float) -> buckets.TokenBucket:
        return original(rate, burst, clock=lambda: clock.now)

    monkeypatch.setattr("signalling.throttling.sockets.TokenBucket", bucket)
    return clock


def limits(**settings: Any) -> SocketLimits:
    return SocketLimits(SignallingSettings(**settings))


def refusal(check: Any, *arguments: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        check(*arguments)
    return refused.value


def test_frames_over_the_burst_are_refused_until_the_bucket_refills(clock: Clock) -> None:
    socket = limits(frame_burst=3, frame_rate=2.0)
    for _ in range(3):
        socket.check_frame(10, clock.now)
    error = refusal(socket.check_frame, 10, clock.now)
    assert (error.code, error.close) == ("rate_limited", None)
    assert error.details == {"retry_after": 0.5}
    clock.now += 0.5
    socket.check_frame(10, clock.now)


def test_bytes_are_limited_as_well_as_frames(clock: Clock) -> None:
    socket = limits(byte_burst=1000, byte_rate=100.0)
    socket.check_frame(1000, clock.now)
    assert refusal(socket.check_frame, 50, clock.now).details == {"retry_after": 0.5}
    clock.now += 0.5
    socket.check_frame(50, clock.now)


def test_offers_have_their_own_limit(clock: Clock) -> None:
    socket = limits(offer_rate=2.0)
    socket.check_offer()
    socket.check_offer()
    error = refusal(socket.check_offer)
    assert (error.code, error.close) == ("rate_limited", None)
    assert "offers" in error.message
    socket.check_frame(10, clock.now)
    clock.now += 0.5
    socket.check_offer()


def test_a_flood_closes_the_socket(clock: Clock) -> None:
    socket = limits(frame_burst=1, frame_rate=1.0, flood_frames=5)
    socket.check_frame(10, clock.now)
    refused = [refusal(socket.check_frame, 10, clock.now) for _ in range(6)]
    assert [error.close for error in refused] == [None] * 5 + [CloseCode.FLOOD]


def test_occasional_refusals_are_not_a_flood(clock: Clock) -> None:
    socket = limits(frame_burst=10, frame_rate=10.0, flood_frames=5)
    for _ in range(50):
        for _ in range(10):
            socket.check_frame(10, clock.now)
        assert refusal(socket.check_frame, 10, clock.now).close is None
        clock.now += 1


def test_too_many_malformed_frames_close_the_socket(clock: Clock) -> None:
    socket = limits(violations=2)
    assert socket.violated() is None
    assert socket.violated() is None
    assert socket.violated() is CloseCode.PROTOCOL_VIOLATIONS
    clock.now += 1
    assert socket.violated() is None


def test_the_defaults_are_those_of_the_protocol(clock: Clock) -> None:
    socket = limits()
    for _ in range(400):
        socket.check_frame(100, clock.now)
    assert refusal(socket.check_frame, 100, clock.now).details == {"retry_after": 0.01}
