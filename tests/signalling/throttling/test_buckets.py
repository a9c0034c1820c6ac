from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.throttling.buckets import TokenBucket


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_allows_its_burst_and_then_its_rate(clock: Clock) -> None:
    bucket = TokenBucket(rate=2, burst=3, clock=clock)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == 0.5
    clock.now += 0.5
    assert bucket.take() == 0
    assert bucket.take() == 0.5


def test_a_refused_take_costs_nothing(clock: Clock) -> None:
    bucket = TokenBucket(rate=1, burst=1, clock=clock)
    bucket.take()
    assert [bucket.take() for _ in range(5)] == [1] * 5
    clock.now += 0.25
    assert bucket.take() == 0.75
    clock.now += 0.75
    assert bucket.take() == 0


def test_a_bucket_never_holds_more_than_its_burst(clock: Clock) -> None:
    bucket = TokenBucket(rate=10, burst=2, clock=clock)
    clock.now += 1_000_000
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.1]


def test_a_use_may_cost_more(clock: Clock) -> None:
    bucket = TokenBucket(rate=1, burst=5, clock=clock)
    assert bucket.take(4) == 0
    assert bucket.take(3) == 2


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_no_pattern_exceeds_burst_and_rate(pauses: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, burst, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        while not bucket.take():
            taken += 1
    assert taken <= burst + (clock.now - 1000.0) * rate + 0.001
