"""The queue of sign-ins that wait for a thread to hash in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from signalling.auth import hashing
from signalling.auth.hashing import FairQueue, TooManySignIns


class SignIns:
    """Sign-ins in threads of their own, which wait in the queue in the order of the calls."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.refused: list[str] = []
        self.threads: list[threading.Thread] = []

    def start(self, *addresses: str) -> None:
        for address in addresses:
            before = self.queue._count
            thread = threading.Thread(target=self._sign_in, args=[address])
            thread.start()
            self.threads.append(thread)
            wait_for(lambda: self.queue._count > before or bool(self.refused))  # noqa: B023

    def _sign_in(self, address: str) -> None:
        try:
            with self.queue.slot(address):
                self.served.append(address)
        except TooManySignIns:
            self.refused.append(address)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_school_behind_one_address_signs_in() -> None:
    sign_ins = SignIns(FairQueue(1, hashing.WAITING, hashing.WAITING_PER_ADDRESS))
    with sign_ins.queue.slot("school"):
        sign_ins.start(*["school"] * 50)
    sign_ins.join()
    assert sign_ins.served == ["school"] * 50


def test_addresses_are_served_in_turn() -> None:
    sign_ins = SignIns(FairQueue(1, 100, 100))
    with sign_ins.queue.slot("flood"):
        sign_ins.start(*["flood"] * 4, "one", "two", "one")
    sign_ins.join()
    assert sign_ins.served == ["flood", "one", "two", "flood", "one", "flood", "flood"]


def test_an_address_has_a_bounded_number_of_places() -> None:
    sign_ins = SignIns(FairQueue(1, 100, 2))
    with sign_ins.queue.slot("other"):
        sign_ins.start("flood", "flood")
        with pytest.raises(TooManySignIns), sign_ins.queue.slot("flood"):
            pass
        sign_ins.start("one")
    sign_ins.join()
    assert sign_ins.served == ["flood", "one", "flood"]


def test_in_a_full_queue_the_address_with_most_places_gives_one_up() -> None:
    sign_ins = SignIns(FairQueue(1, 3, 3))
    with sign_ins.queue.slot("other"):
        sign_ins.start("flood", "flood", "flood", "one")
        wait_for(lambda: sign_ins.refused == ["flood"])
        for address in ("flood", "one"):  # "one" would have as many as "flood" then
            with pytest.raises(TooManySignIns), sign_ins.queue.slot(address):
                pass
    sign_ins.join()
    assert sign_ins.served == ["flood", "one", "flood"]
    with sign_ins.queue.slot("flood"):
        pass


def test_only_a_sign_in_that_waits_gives_its_database_connections_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []

    def connection(name: str, in_atomic_block: bool) -> Any:
        return SimpleNamespace(in_atomic_block=in_atomic_block, close=lambda: closed.append(name))

    all_of_them = [connection("idle", False), connection("in a transaction", True)]
    known = SimpleNamespace(all=lambda initialized_only: all_of_them)
    monkeypatch.setattr(hashing, "connections", known)
    sign_ins = SignIns(FairQueue(1, 1, 1))
    with sign_ins.queue.slot("first"):
        assert closed == []
        sign_ins.start("second")
        wait_for(lambda: closed == ["idle"])
    sign_ins.join()


def test_processors_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert hashing.processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert hashing.processors() == 64
