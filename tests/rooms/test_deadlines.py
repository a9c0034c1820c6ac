"""Calls that nobody waits for longer than the deadline."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial

import pytest

from rooms.deadlines import Call, Lanes, Workers
from tests.patience import PATIENCE


def test_a_call_returns_its_result_or_raises_its_error() -> None:
    workers = Workers(1, "calling")
    for base in (10, 16):
        assert workers.run(partial(int, "12", base), 10) == int("12", base)
        with pytest.raises(ValueError, match="xyz"):
            workers.run(partial(int, "xyz", base), 10)


def test_each_thread_is_started_once_and_does_not_keep_the_process_alive() -> None:
    workers = Workers(2, "counted")
    assert not [thread for thread in threading.enumerate() if "counted" in thread.name]
    for _ in range(3):
        workers.run(int, 10)
    threads = {thread for thread in threading.enumerate() if "counted" in thread.name}
    assert len(threads) == 2
    assert all(thread.daemon for thread in threads)


def test_a_long_lane_delays_another_by_one_call_at_a_time() -> None:
    lanes = Lanes()
    calls: dict[str, Call] = {
        name: (Future(), str) for name in ("a1", "a2", "a3", "b1", "c1", "b2")
    }
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        lanes.put(name[0], calls[name])
    taken = [lanes.get() for _ in calls]
    assert taken == [calls[name] for name in ("a1", "b1", "c1", "a2", "b2", "a3")]


def test_a_call_that_was_cancelled_no_longer_waits() -> None:
    """However long the threads are kept, and however many callers have come and gone."""
    workers, begun, responds = Workers(1, "kept"), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        responds.wait(PATIENCE)

    workers.submit(hang)
    assert begun.wait(PATIENCE)
    waiting = [workers.lane(name).submit(str.upper, name) for name in "abab"]
    for future in (waiting[0], waiting[1], waiting[2], waiting[2]):
        assert future.cancel()
    assert len(workers._calls) == 1
    responds.set()
    assert waiting[3].result(PATIENCE) == "B"
    assert not waiting[3].cancel()
    assert len(workers._calls) == 0


def test_calls_that_have_not_begun_in_time_are_not_made() -> None:
    workers, begun, responds = Workers(1, "hanging"), threading.Event(), threading.Event()
    made: list[str] = []

    def hang() -> None:
        begun.set()
        responds.wait(PATIENCE)

    call = threading.Thread(target=workers.run, args=(hang, 10), daemon=True)
    call.start()
    assert begun.wait(PATIENCE)
    with pytest.raises(TimeoutError):
        workers.run(lambda: made.append("late"), 0.01)
    responds.set()
    call.join()
    assert workers.run(lambda: "on time", 10) == "on time"
    assert made == []
