from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.throttling.buckets import FailureThrottle, TokenBucket, network


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- TokenBucket ------------------------------------------------------------------------------


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


# --- FailureThrottle --------------------------------------------------------------------------


def fail(throttle: FailureThrottle, times: int, *keys: str) -> None:
    for _ in range(times):
        throttle.failed(*keys)


def test_the_first_failures_cause_no_delay(clock: Clock) -> None:
    throttle = FailureThrottle(limit=10, clock=clock)
    fail(throttle, 9, "bob")
    assert throttle.wait("bob") == 0
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 1


def test_each_further_failure_doubles_the_delay_up_to_the_longest(clock: Clock) -> None:
    throttle = FailureThrottle(limit=3, longest=60, clock=clock)
    fail(throttle, 2, "bob")
    delays = []
    for _ in range(9):
        fail(throttle, 1, "bob")
        delays.append(throttle.wait("bob"))
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_delay_has_a_maximum(clock: Clock) -> None:
    throttle = FailureThrottle(limit=3, longest=60, clock=clock)
    fail(throttle, 10_000, "bob")
    assert throttle.wait("bob") == 60
    assert len(throttle._failures["bob"]) < 50


def test_the_delay_runs_from_the_last_failure(clock: Clock) -> None:
    throttle = FailureThrottle(limit=1, clock=clock)
    fail(throttle, 3, "bob")
    clock.now += 3
    assert throttle.wait("bob") == 1
    clock.now += 1
    assert throttle.wait("bob") == 0


def test_failures_are_forgotten_after_the_window(clock: Clock) -> None:
    throttle = FailureThrottle(limit=2, window=100, clock=clock)
    fail(throttle, 1, "bob")
    clock.now += 99
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 1
    clock.now += 1  # the first is 100 s old
    assert throttle.wait("bob") == 0
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 1


def test_keys_are_counted_separately_and_the_longest_delay_counts(clock: Clock) -> None:
    throttle = FailureThrottle(limit=1, clock=clock)
    fail(throttle, 2, "user:bob", "address:a")
    fail(throttle, 1, "address:a")
    assert throttle.wait("user:bob") == 2
    assert throttle.wait("user:bob", "address:a") == 4
    assert throttle.wait("user:alice", "address:b") == 0
    assert throttle.wait() == 0


def test_the_number_of_keys_is_bounded_and_the_oldest_is_dropped(clock: Clock) -> None:
    throttle = FailureThrottle(limit=1, size=3, clock=clock)
    for key in ("a", "b", "c", "a", "d"):
        fail(throttle, 1, key)
    assert len(throttle._failures) == 3
    assert [key for key in "abcd" if throttle.wait(key)] == ["a", "c", "d"]


def test_wait_stores_no_key(clock: Clock) -> None:
    throttle = FailureThrottle(clock=clock)
    for number in range(100):
        throttle.wait(f"address:{number}")
    assert not throttle._failures


# --- network ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
        ("", ""),
        ("/run/daphne.sock", "/run/daphne.sock"),
    ],
)
def test_an_ipv6_client_is_identified_by_its_network(address: str, key: str) -> None:
    assert network(address) == key


def test_ipv4_clients_of_a_dual_stack_server_are_separate() -> None:
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") == "192.0.2.1"


def test_the_scope_of_a_link_local_address_raises_nothing() -> None:
    assert network("fe80::1%eth0")
