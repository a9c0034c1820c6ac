"""The counter of failures. Its clock is the one of the cache, ``time.time``."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from pytest_django import Settings

from rooms import failures, shared_cache
from rooms.deadlines import Workers
from rooms.exceptions import RateLimited
from rooms.failures import LONGEST, Throttle
from rooms.shared_cache import RETRY_SECONDS
from tests.patience import PATIENCE

Sleep = Callable[[float], None]
_names = itertools.count()


class SharedCache(LocMemCache):
    """Stands for a cache that several processes share, and that can become unavailable."""

    is_available = True
    calls = 0

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(name, {**params, "OPTIONS": {"MAX_ENTRIES": 10_000}})

    def get_many(self, keys: Any, version: int | None = None) -> dict[Any, Any]:
        type(self).calls += 1
        if not self.is_available:
            raise ConnectionError("unavailable")
        return super().get_many(keys, version)

    def add(self, *args: Any, **kwargs: Any) -> bool:
        type(self).calls += 1
        if not self.is_available:
            raise ConnectionError("unavailable")
        return super().add(*args, **kwargs)


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    """Return a function that moves the clock."""
    slept = 0.0
    real_time, real_monotonic = time.time, time.monotonic

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds

    monkeypatch.setattr(time, "time", lambda: real_time() + slept)
    monkeypatch.setattr(time, "monotonic", lambda: real_monotonic() + slept)
    return sleep


@pytest.fixture
def shared(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> type[SharedCache]:
    """A default cache that several processes share."""
    monkeypatch.setattr(SharedCache, "is_available", True)
    monkeypatch.setattr(SharedCache, "calls", 0)
    monkeypatch.setattr(shared_cache, "DEADLINE", 30)  # a busy machine is no outage
    settings.CACHES = {
        "default": {
            "BACKEND": f"{__name__}.SharedCache",
            "LOCATION": f"shared-{next(_names)}",
        }
    }
    return SharedCache


def fail(throttle: Throttle, times: int, *keys: str) -> None:
    for _ in range(times):
        throttle.failed(*keys)


# --- Delays -----------------------------------------------------------------------------------


def test_the_first_failures_cause_no_delay() -> None:
    throttle = Throttle("t")
    fail(throttle, 9, "bob")
    assert throttle.wait("bob") == 0
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 1


def test_each_further_failure_doubles_the_delay_up_to_the_longest(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 3}
    throttle, delays = Throttle("t"), []
    fail(throttle, 2, "bob")
    for _ in range(9):
        fail(throttle, 1, "bob")
        delays.append(throttle.wait("bob"))
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    fail(throttle, 2000, "bob")
    assert throttle.wait("bob") == LONGEST


def test_the_delay_runs_from_the_last_failure(settings: Settings, sleep: Sleep) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    throttle = Throttle("t")
    fail(throttle, 3, "bob")
    sleep(3)
    assert throttle.wait("bob") == 1
    sleep(1.1)
    assert throttle.wait("bob") == 0


def test_after_a_delay_one_attempt_is_allowed_whatever_its_result(
    settings: Settings, sleep: Sleep
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    throttle = Throttle("t")
    fail(throttle, 3, "bob")
    sleep(4.1)
    assert [throttle.wait("bob") for _ in range(3)] == [0, 4, 4]


def test_failures_are_forgotten_after_the_window(settings: Settings, sleep: Sleep) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2, "FAILURE_WINDOW": 100}
    throttle = Throttle("t")
    fail(throttle, 1, "bob")
    sleep(90)
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 1
    sleep(11)  # the window of the first failure is over
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 0


def test_kinds_and_guessers_are_counted_separately(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    throttle = Throttle("t")
    fail(throttle, 1, "bob", "address")
    assert throttle.wait("bob", "other address")
    assert not throttle.wait("alice", "address")
    assert not Throttle("u").wait("bob", "address")


def test_check_raises_with_the_delay(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    throttle = Throttle("t")
    throttle.check("bob")
    fail(throttle, 3, "bob")
    with pytest.raises(RateLimited) as refused:
        throttle.check("bob")
    assert refused.value.details == {"retry_after": 4}


def test_a_peek_raises_as_long_as_the_delay_lasts(settings: Settings, sleep: Sleep) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2}
    throttle = Throttle("t")
    fail(throttle, 1, "bob")
    throttle.peek("bob")
    waits = []
    for _ in range(3):
        fail(throttle, 1, "bob")
        with pytest.raises(RateLimited) as refused:
            throttle.peek("bob")
        waits.append(refused.value.details["retry_after"])
    assert waits == [1, 2, 4]
    sleep(4.1)
    for _ in range(2):
        throttle.peek("bob")
    assert throttle.wait("bob") == 0  # the attempt was left to others


def test_without_failures_nobody_waits_even_with_the_lowest_limit(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    throttle = Throttle("t")
    assert [throttle.wait("bob") for _ in range(2)] == [0, 0]
    failures.store.local.set(failures._gate(throttle._keys("bob")), time.time() + 5, 60)
    throttle.peek("bob")


def test_the_clock_of_the_worker_that_counted_may_be_slow(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    throttle = Throttle("t")
    fail(throttle, 1, "bob")
    failures.store.local.set(failures._gate(throttle._keys("bob")), time.time() - 5, 60)
    assert throttle.wait("bob") == 1
    with pytest.raises(RateLimited):
        throttle.peek("bob")


# --- Shared keys ------------------------------------------------------------------------------


def test_a_shared_key_delays_nobody_who_has_not_failed(settings: Settings) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 20}
    throttle = Throttle("t")
    for number in range(200):
        throttle.failed(f"guesser {number}", "address")
    assert throttle.wait("honest", "address") == 0


def test_beyond_the_shared_limit_the_first_failure_causes_a_delay(settings: Settings) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 20}
    throttle = Throttle("t")
    for number in range(20):
        throttle.failed(f"guesser {number}", "address")
    throttle.failed("new account", "address")
    assert throttle.wait("new account", "address") == 1
    throttle.failed("new account", "address")
    assert throttle.wait("new account", "address") == 2
    assert throttle.wait("new account", "other address") == 0


def test_the_shared_limit_includes_its_last_failure(settings: Settings) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 3}
    throttle = Throttle("t")
    fail(throttle, 1, "ann", "address")
    fail(throttle, 1, "ben", "address")
    assert not throttle.is_exceeded("address")
    fail(throttle, 1, "bob", "address")
    assert throttle.is_exceeded("address")
    assert throttle.wait("bob", "address") == 1
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 1}
    assert not throttle.is_exceeded("other address")


# --- The cache --------------------------------------------------------------------------------


def test_processes_count_together_in_a_shared_cache(
    settings: Settings, shared: type[SharedCache]
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2}
    throttle = Throttle("t")
    fail(throttle, 1, "bob")
    failures.store.clear()  # another process counts the second failure
    fail(throttle, 1, "bob")
    assert throttle.wait("bob") == 1


def test_no_failure_of_several_threads_is_lost(
    settings: Settings, shared: type[SharedCache]
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 40, "SHARED_FAILURE_LIMIT": 1000}
    throttle = Throttle("t")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: throttle.failed("bob", "address"), range(39)))
    assert throttle.wait("bob", "address") == 0
    throttle.failed("bob", "address")
    assert throttle.wait("bob", "address") == 1


def test_keys_reveal_no_name_and_expire(shared: type[SharedCache]) -> None:
    Throttle("t").failed("bob", "192.0.2.1")
    cache: Any = caches["default"]
    assert len(cache._cache) == 2
    assert not [key for key in cache._cache if "bob" in key or "192.0.2.1" in key]
    assert all(expiry <= time.time() + 1800 for expiry in cache._expire_info.values())


def test_a_counter_that_expires_during_an_increment_starts_again(
    shared: type[SharedCache],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2}
    throttle = Throttle("t")
    monkeypatch.setattr(shared, "add", lambda *args, **kwargs: False)
    throttle.failed("bob")
    monkeypatch.undo()
    throttle.failed("bob")
    assert throttle.wait("bob") == 1
    assert not caplog.records  # no outage of the cache


def test_a_counter_that_an_increment_creates_expires(
    shared: type[SharedCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int] = []
    monkeypatch.setattr(shared, "add", lambda *args: False)
    monkeypatch.setattr(shared, "incr", lambda *args: 1)
    monkeypatch.setattr(shared, "touch", lambda cache, key, window: windows.append(window))
    Throttle("t").failed("bob")
    assert windows == [1800]


def test_an_unavailable_cache_is_replaced_and_logged_once_a_minute(
    shared: type[SharedCache],
    settings: Settings,
    sleep: Sleep,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    monkeypatch.setattr(shared, "is_available", False)
    throttle = Throttle("t")
    for _ in range(20):
        throttle.failed("bob")
    assert throttle.wait("bob") == LONGEST
    assert shared.calls == 1  # the others do not wait for a timeout
    sleep(30)
    throttle.failed("bob")
    assert shared.calls == 2
    assert [record.getMessage() for record in caplog.records] == [
        "Cache unavailable, each process counts failures alone: ConnectionError('unavailable')"
    ]
    sleep(40)
    throttle.failed("bob")
    assert len(caplog.records) == 2
    monkeypatch.setattr(shared, "is_available", True)
    sleep(11)
    assert throttle.wait("bob") == 0  # counted by the shared cache again


def test_a_cache_that_does_not_respond_delays_one_call_for_the_deadline(
    shared: type[SharedCache],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    monkeypatch.setattr(shared_cache, "DEADLINE", 0.05)
    monkeypatch.setattr(shared_cache, "_workers", Workers(1, "hanging"))
    responds, throttle = threading.Event(), Throttle("t")
    monkeypatch.setattr(shared, "add", lambda *args, **kwargs: responds.wait(PATIENCE))
    try:
        started = time.monotonic()
        fail(throttle, 3, "bob")
        assert throttle.wait("bob") == 4
        assert time.monotonic() - started < 5
    finally:
        responds.set()
    assert [record.getMessage() for record in caplog.records] == [
        "Cache unavailable, each process counts failures alone: TimeoutError()"
    ]


def test_only_one_thread_waits_for_a_cache_that_was_unavailable(
    shared: type[SharedCache], sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "is_available", False)
    failures.store.run(lambda cache: cache.get_many(["x"]))
    sleep(RETRY_SECONDS + 1)
    used: list[object] = []

    def slow_attempt(cache: Any) -> None:
        if cache is not failures.store.local:
            failures.store.run(used.append)  # another thread, at the same time

    failures.store.run(slow_attempt)
    assert used == [failures.store.local]


def test_threads_use_a_cache_together_unless_it_was_unavailable(shared: type[SharedCache]) -> None:
    store = shared_cache.SharedCache("failures")
    used: list[object] = []
    for _ in range(2):
        store.run(lambda cache: store.run(used.append))
    store.clear()
    store.run(lambda cache: store.run(used.append))
    assert [type(cache) for cache in used] == [shared] * 3
