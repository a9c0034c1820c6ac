"""The thread that renews the lease of this process, and when a lease is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connections

from rooms import leases, outages
from signalling.worker import lease
from signalling.worker.lease import CHECK_SECONDS, HUNG_SECONDS, LeaseKeeper
from tests.patience import PATIENCE

from .clock import StoppedClock

Renew = Callable[[str], bool]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    return StoppedClock(monkeypatch, lease)


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workers whose lease was renewed. No database is needed."""
    renewed: list[str] = []
    monkeypatch.setattr(lease, "close_old_connections", lambda: None)

    def renew(worker_id: str) -> bool:
        renewed.append(worker_id)
        return True

    monkeypatch.setattr(leases, "renew", renew)
    return renewed


def keeper(clock: StoppedClock, on_lost: Callable[[], None] = lambda: None) -> LeaseKeeper:
    """Return a keeper of a lease of 6 s that renews only when the test does."""
    made = LeaseKeeper(6.0, 3600.0, on_lost)
    made.hold("worker", begun_at=clock.now)
    made.stop()
    return made


def fail(worker_id: str) -> bool:
    raise OperationalError("the database is unavailable")


async def test_neither_a_busy_event_loop_nor_busy_threads_delay_a_renewal(
    monkeypatch: pytest.MonkeyPatch, renewed: list[str]
) -> None:
    third = threading.Event()

    def renew(worker_id: str) -> bool:
        renewed.append(worker_id)
        if len(renewed) == 3:
            third.set()
        return True

    monkeypatch.setattr(leases, "renew", renew)
    made = LeaseKeeper(6.0, 0.01, lambda: None)
    made.hold("worker", begun_at=made.alive_until - made.seconds)
    assert third.wait(PATIENCE)  # blocks the event loop
    made.stop()


def test_the_thread_does_not_wait_for_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "pool", {"max_size": 1})

    def look() -> tuple[Any, Any]:
        before = "pool" in connections["default"].settings_dict["OPTIONS"]
        lease.use_own_connection()
        own = connections["default"].settings_dict
        return before, ("pool" in own["OPTIONS"], own["CONN_MAX_AGE"])

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(look).result() == (True, (False, None))
    assert "pool" in connections.settings["default"]["OPTIONS"]


async def test_a_renewal_counts_from_its_begin(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = keeper(clock)
    clock.now += 1.5

    def renew_slowly(worker_id: str) -> bool:
        clock.now += 2
        return True

    monkeypatch.setattr(leases, "renew", renew_slowly)
    held.renew()
    assert held.alive_until == 1001.5 + 6


async def test_a_renewal_that_waits_for_the_database_loses_no_lease(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = keeper(clock)

    def renew_after_an_outage(worker_id: str) -> bool:
        for _ in range(10):
            clock.now += 0.9
            assert held.check()
        return True

    monkeypatch.setattr(leases, "renew", renew_after_an_outage)
    held.renew()
    assert held.check()
    assert held.alive_until == clock.now + 6


async def test_a_renewal_that_hangs_is_ended(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may hang for minutes after an outage, but the database is back."""
    severed: list[Any] = []
    monkeypatch.setattr(lease, "sever", severed.append)
    held = keeper(clock)
    held._connection = Mock(connection="connection")

    def hang(worker_id: str) -> bool:
        for seconds in (HUNG_SECONDS, 0.1):
            assert not severed
            clock.now += seconds
            held.check()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(leases, "renew", hang)
    held.renew()
    assert severed == ["connection"]
    clock.now += HUNG_SECONDS + 1
    held.check()
    assert len(severed) == 1


async def test_a_process_that_was_suspended_has_lost_its_lease(
    clock: StoppedClock, renewed: list[str]
) -> None:
    held = keeper(clock)
    clock.now += 5.9
    assert held.check()
    assert held.alive_until == 1006, "the event loop must not extend what the database has"
    clock.now += 0.2
    held.renew()  # the thread runs before the event loop
    assert not held.check()
    assert not renewed


async def test_an_event_loop_that_hangs_loses_its_lease(
    clock: StoppedClock, renewed: list[str]
) -> None:
    held = keeper(clock)
    for _ in range(20):
        clock.now += 1.5
        held.renew()
    assert len(renewed) == 4
    assert not held.check()


async def test_an_outage_of_the_database_loses_no_lease(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = keeper(clock)
    with monkeypatch.context() as outage:
        outage.setattr(leases, "renew", fail)
        for _ in range(20):
            held.renew()
            clock.now += CHECK_SECONDS * 1.5
            assert held.check()
    held.renew()
    assert held.alive_until == clock.now + 6
    clock.now += 5
    assert held.check()
    assert held.alive_until == clock.now + 1


async def test_a_process_that_is_suspended_during_an_outage_has_lost_its_lease(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "renew", fail)
    held = keeper(clock)
    held.renew()
    clock.now += 2
    assert held.check()
    clock.now += 6.1
    held.renew()
    assert not held.check()


async def test_a_lock_on_the_lease_is_no_outage(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_because_of_a_lock(worker_id: str) -> bool:
        raise outages.RowLocked

    monkeypatch.setattr(leases, "renew", fail_because_of_a_lock)
    held = keeper(clock)
    for _ in range(2):
        held.renew()
        clock.now += 2.5
        assert held.check()
    assert held.alive_until == 1006


async def test_a_lease_that_another_process_has_ended_is_lost_on_the_event_loop(
    clock: StoppedClock, renewed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = asyncio.Event()
    made = LeaseKeeper(6.0, 3600.0, lost.set)
    made.hold("worker", begun_at=clock.now)
    monkeypatch.setattr(leases, "renew", lambda worker_id: False)
    await asyncio.to_thread(made.renew)
    await lost.wait()
    lost.clear()
    made.release()
    await asyncio.to_thread(made.renew)  # nothing to renew
    made.hold("worker", begun_at=clock.now)
    made.stop()
    await asyncio.to_thread(made.renew)  # the worker has retired
    assert not lost.is_set()


async def test_a_process_without_a_lease_loses_none(
    clock: StoppedClock, renewed: list[str]
) -> None:
    made = LeaseKeeper(6.0, 3600.0, lambda: None)
    for _ in range(10):
        clock.now += 5
        assert made.check()
        made.renew()
    assert not renewed
