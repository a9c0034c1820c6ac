"""Which leases are those of dead workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rooms.leases import Lease, LeaseMonitor

EXPIRED_AT = datetime(2026, 1, 1, tzinfo=UTC)
DEAD = Lease("worker", EXPIRED_AT, is_expired=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock of the process; set ``now``."""
    clock = Clock()
    monkeypatch.setattr("rooms.leases.monotonic", clock)
    return clock


def deaths(monitor: LeaseMonitor, clock: Clock, *times: float) -> list[float]:
    """Show the monitor an expired lease at these times. Return those at which it was dead."""
    found = []
    for clock.now in times:
        if monitor.find_dead([DEAD]) == [DEAD]:
            found.append(clock.now)
    return found


def test_a_lease_is_dead_when_it_has_been_expired_for_long_enough(clock: Clock) -> None:
    monitor = LeaseMonitor(confirm_seconds=10, grace_seconds=20)
    assert deaths(monitor, clock, 1000, 1009.9, 1010, 1020) == [1010, 1020]


def test_a_lease_may_be_dead_as_soon_as_it_was_read(clock: Clock) -> None:
    assert deaths(LeaseMonitor(confirm_seconds=0), clock, 0) == [0]


def test_a_lease_that_has_not_expired_is_not_dead(clock: Clock) -> None:
    alive = Lease("worker", EXPIRED_AT, is_expired=False)
    assert LeaseMonitor(confirm_seconds=0).find_dead([alive]) == []


def test_a_renewal_restarts_the_wait(clock: Clock) -> None:
    monitor = LeaseMonitor(confirm_seconds=10)
    renewed = Lease("worker", EXPIRED_AT + timedelta(seconds=3), is_expired=True)
    assert monitor.find_dead([DEAD]) == []
    for clock.now, dead in ((1005, []), (1010, []), (1015, [renewed])):
        assert monitor.find_dead([renewed]) == dead


def test_after_an_outage_no_worker_is_dead_for_the_time_of_grace(clock: Clock) -> None:
    monitor = LeaseMonitor(confirm_seconds=10, grace_seconds=20)
    assert deaths(monitor, clock, 1000, 1005) == []
    monitor.reset()
    assert deaths(monitor, clock, 1010, 1020, 1029.9, 1030, 1031) == [1030, 1031]


def test_after_an_outage_the_wait_begins_again(clock: Clock) -> None:
    monitor = LeaseMonitor(confirm_seconds=10)
    assert deaths(monitor, clock, 1000) == []
    monitor.reset()
    assert deaths(monitor, clock, 1011, 1020, 1021) == [1021]


def test_by_default_there_is_no_grace(clock: Clock) -> None:
    monitor = LeaseMonitor(confirm_seconds=0)
    monitor.reset()
    assert deaths(monitor, clock, 1000) == [1000]
