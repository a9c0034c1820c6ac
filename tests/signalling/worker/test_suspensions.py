"""``Suspensions``: what happens before the next frame, after a process stood still."""

from __future__ import annotations

import asyncio

import pytest

from signalling.worker import lease, suspensions
from signalling.worker.suspensions import SUSPENDED_SECONDS, Suspensions

LEASE_SECONDS = 7.0


class Clock:
    """A clock, and the calls of ``fence`` and ``check``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        for module in (suspensions, lease):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.lease = lease.LeaseKeeper(LEASE_SECONDS, 1.0, on_lost=self._fence)
        self.lease.worker_id = "worker"
        self.suspensions = Suspensions(self.lease, fence=self._fence, check=self._check)

    def _fence(self) -> None:
        self.calls.append("fence")
        self.lease.release()

    async def _check(self) -> None:
        self.calls.append("check")
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error

    @property
    def is_trusted(self) -> bool:
        return self.now <= self.suspensions.alive_until


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("seconds", "call"), [(2.1, "check"), (6.9, "check"), (7.1, "fence")])
async def test_a_suspension_is_checked_and_a_long_one_closes_all_sockets(
    clock: Clock, seconds: float, call: str
) -> None:
    clock.now += seconds
    assert not clock.is_trusted
    await clock.suspensions.check()
    assert clock.calls == [call]
    assert clock.is_trusted


async def test_frames_wait_for_one_check_and_the_clock_does_not_preempt_it(clock: Clock) -> None:
    clock.may_go_on.clear()
    clock.now += SUSPENDED_SECONDS + 1
    tasks = [asyncio.create_task(clock.suspensions.check()) for _ in range(3)]
    tasks.append(asyncio.create_task(clock.suspensions.watch()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert clock.calls == ["check"]
    assert not clock.is_trusted
    clock.may_go_on.set()
    await asyncio.gather(*tasks[:3])
    assert clock.is_trusted
    tasks[3].cancel()


async def test_lost_announcements_are_checked_before_the_next_frame(clock: Clock) -> None:
    clock.suspensions.distrust()
    clock.now += 0.1
    assert not clock.is_trusted
    await clock.suspensions.check()
    assert clock.calls == ["check"]


async def test_an_unavailable_database_does_not_stop_relays(clock: Clock) -> None:
    clock.error = ConnectionError()
    clock.suspensions.distrust()
    clock.now += 0.1
    await clock.suspensions.check()
    assert clock.is_trusted


async def test_frames_are_trusted_no_longer_than_the_lease(clock: Clock) -> None:
    clock.lease.alive_until = clock.now + 1.0  # renewals are slow
    watching = asyncio.create_task(clock.suspensions.watch())
    await asyncio.sleep(0)
    clock.now += 1.1
    assert not clock.is_trusted
    await clock.suspensions.check()
    assert clock.calls == ["fence"]
    watching.cancel()


async def test_it_knows_when_the_process_was_last_suspended(clock: Clock) -> None:
    stood_still_at = [clock.suspensions.stood_still_at]
    watching = asyncio.create_task(clock.suspensions.watch())
    await asyncio.sleep(0)
    clock.now += SUSPENDED_SECONDS
    stood_still_at.append(clock.suspensions.stood_still_at)
    clock.now += 0.1
    stood_still_at.append(clock.suspensions.stood_still_at)
    watching.cancel()
    again = asyncio.create_task(clock.suspensions.watch())
    await asyncio.sleep(0)
    clock.now += 0.5
    stood_still_at.append(clock.suspensions.stood_still_at)
    again.cancel()
    assert stood_still_at == [float("-inf"), float("-inf"), 100, 100]
