"""The queue of sign-ins that wait for a thread to hash in."""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest

from signalling.auth import hashing
from signalling.auth.hashing import FairQueue, TooManySignIns
from tests.patience import PATIENCE


class Line:
    """A queue, and what happens to the sign-ins that enter it."""

    def __init__(self, queue: FairQueue, busy: int = 1) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.refused: list[str] = []
        for _ in range(busy):
            assert queue._enter("busy").done()

    def enter(self, *addresses: str) -> None:
        """Let sign-ins from these addresses wait, in this order."""
        for address in addresses:
            ticket = self.queue._enter(address)
            assert not ticket.done()
            ticket.add_done_callback(partial(self._done, address))

    def refuses(self, address: str) -> bool:
        try:
            self.enter(address)
        except TooManySignIns:
            return True
        return False

    def leave(self, times: int = 1) -> None:
        """Let as many sign-ins end as it takes for this number of others to be served."""
        for _ in range(times):
            self.queue._leave()

    def _done(self, address: str, ticket: Future[None]) -> None:
        (self.served if ticket.exception() is None else self.refused).append(address)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_school_behind_one_address_signs_in() -> None:
    line = Line(FairQueue(1, hashing.WAITING, hashing.WAITING_PER_ADDRESS))
    line.enter(*["school"] * 50)
    line.leave(50)
    assert line.served == ["school"] * 50


def test_addresses_are_served_in_turn() -> None:
    line = Line(FairQueue(1, 100, 100))
    line.enter(*["flood"] * 4, "one", "two", "one")
    line.leave(7)
    assert line.served == ["flood", "one", "two", "flood", "one", "flood", "flood"]


def test_each_sign_in_that_ends_makes_room_for_one() -> None:
    line = Line(FairQueue(2, 100, 100), busy=2)
    line.enter("one", "two")
    assert line.served == []
    line.leave()
    assert line.served == ["one"]
    line.leave(3)
    assert line.served == ["one", "two"]
    assert [line.queue._enter(address).done() for address in "abc"] == [True, True, False]


def test_an_address_has_a_bounded_number_of_places() -> None:
    line = Line(FairQueue(1, 100, 2))
    line.enter("flood", "flood")
    assert line.refuses("flood")
    line.enter("one")
    line.leave()
    line.enter("flood")  # its next one has a place again
    assert line.refuses("flood")
    line.leave(3)
    assert line.served == ["flood", "one", "flood", "flood"]


def test_in_a_full_queue_the_address_with_most_places_gives_one_up() -> None:
    line = Line(FairQueue(1, 3, 3))
    line.enter("flood", "flood", "flood", "one")
    assert line.refused == ["flood"]
    for address in ("flood", "one"):  # "one" would have as many as "flood" then
        assert line.refuses(address)
    line.leave(3)
    assert line.served == ["flood", "one", "flood"]


@pytest.mark.parametrize(("places", "gives_up"), [(1, False), (2, True)])
def test_an_address_gives_a_place_up_only_if_it_has_two_more(places: int, gives_up: bool) -> None:
    line = Line(FairQueue(1, places, 3))
    line.enter(*["flood"] * places)
    assert line.refuses("one") is not gives_up
    assert line.refused == ["flood"] * gives_up


def test_a_queue_stays_full_while_places_are_given_up_and_taken() -> None:
    line = Line(FairQueue(1, 4, 4))
    line.enter(*["flood"] * 4, "one", "two", "three")
    assert line.refused == ["flood"] * 3
    assert line.refuses("four")
    line.leave(2)
    line.enter("four", "five")
    assert line.refuses("six")
    line.leave(4)
    assert line.served == ["flood", "one", "two", "three", "four", "five"]


def test_a_slot_is_given_back_even_after_an_exception() -> None:
    queue = FairQueue(1, 1, 1)
    for _ in range(2):
        with pytest.raises(RuntimeError), queue.slot("one"):
            raise RuntimeError


def test_only_a_sign_in_that_waits_gives_its_database_connections_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []

    def connection(name: str, in_atomic_block: bool) -> Any:
        return SimpleNamespace(in_atomic_block=in_atomic_block, close=lambda: closed.append(name))

    opened = [connection("idle", False), connection("in a transaction", True)]

    def all_of_them(*, initialized_only: bool) -> list[Any]:
        return opened if initialized_only else [*opened, connection("never used", False)]

    monkeypatch.setattr(hashing, "connections", SimpleNamespace(all=all_of_them))
    queue, served = FairQueue(1, 1, 1), threading.Event()

    def sign_in() -> None:
        with queue.slot("second"):
            served.set()

    with queue.slot("first"):
        assert closed == []
        thread = threading.Thread(target=sign_in, daemon=True)
        thread.start()
        wait_for(lambda: closed == ["idle"])
        assert not served.is_set()
    assert served.wait(PATIENCE)
    thread.join(PATIENCE)


def test_processors_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert hashing.processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert hashing.processors() == 64


def test_this_process_is_asked_and_at_least_one_processor_assumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def affinity(pid: int) -> set[int]:
        asked.append(pid)
        return {1}

    monkeypatch.setattr(os, "sched_getaffinity", affinity, raising=False)
    assert hashing.processors() == 1
    assert asked == [0]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert hashing.processors() == 1


@pytest.mark.parametrize(("processors", "threads"), [(1, 1), (2, 1), (3, 1), (8, 4)])
def test_hashes_use_half_of_the_processors(
    processors: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = set(range(processors))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: available, raising=False)
    assert runpy.run_path(hashing.__file__)["THREADS"] == threads


@pytest.mark.parametrize(
    ("platform", "before", "after"),
    [("linux", 0, [hashing.NICENESS]), ("linux", 15, [15]), ("darwin", 0, [])],
)
def test_hashes_run_with_a_lower_priority_in_threads_of_their_own(
    platform: str, before: int, after: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only root could raise the priority of a process that was started with a lower one."""
    lowered: list[tuple[int, int]] = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "getpriority", lambda which, thread: before)
    monkeypatch.setattr(os, "setpriority", lambda which, *pair: lowered.append(pair))
    with hashing._threads.__wrapped__() as pool:
        thread = pool.submit(threading.get_native_id).result()
    assert lowered == [(thread, priority) for priority in after]
    assert thread != threading.get_native_id()


def test_pretending_takes_as_long_as_the_last_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.25])
    slept: list[float] = []
    fake = SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append)
    monkeypatch.setattr(hashing, "time", fake)
    monkeypatch.setattr(hashing, "_last_seconds", 0.0)
    assert hashing.run(pow, 2, 3) == 8
    hashing.pretend()
    assert slept == [0.25]


def test_a_refusal_is_delayed_unless_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(hashing, "time", SimpleNamespace(sleep=slept.append))
    places = Mock()
    monkeypatch.setattr(hashing, "_delayed", places)
    for is_free in (True, False):
        places.acquire.return_value = is_free
        hashing.delay_refusal()
    assert slept == [hashing.REFUSAL_SECONDS]
    assert 0 < hashing.REFUSAL_SECONDS < 5
    assert places.mock_calls == [
        call.acquire(blocking=False),
        call.release(),
        call.acquire(blocking=False),
    ]
