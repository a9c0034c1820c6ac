"""Turns and deadlines of database calls: no call waits for long, and no room for another one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from rooms.deadlines import Workers
from rooms.outages import DatabaseUnavailable, RowLocked
from signalling.database import calls
from signalling.database.breaker import Breaker
from signalling.database.calls import Calls
from tests.patience import PATIENCE
from tests.signalling.database.test_breaker import FakeProbe, until


class Blocked:
    """A function that blocks its thread until the end of the test."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.begun: list[str] = []

    def __call__(self, name: str) -> str:
        self.begun.append(name)
        self.released.wait(PATIENCE)
        return name


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    blocked = Blocked()
    yield blocked
    blocked.released.set()


@pytest.fixture
def probe() -> FakeProbe:
    return FakeProbe()


@pytest.fixture
def tested(probe: FakeProbe, db: None) -> Calls:
    """Two threads, and a deadline of 2 s."""
    breaker = Breaker(probe, on_open=lambda: made.fail_all())
    made = Calls(Workers(2, "tested"), breaker, 2.0)
    return made


def run(tested: Calls, function: Any, *args: Any, room: str | None = None) -> asyncio.Task[Any]:
    return asyncio.create_task(tested.run(function, args, {}, room))


async def test_a_call_returns_or_raises_what_its_function_does(tested: Calls) -> None:
    assert await tested.run(divmod, (7, 2), {}) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await tested.run(divmod, (7, 0), {}, "room")
    await until(lambda: not tested._calls)
    assert not tested._lines


async def test_a_call_fails_if_its_thread_cannot_close_an_old_connection(
    tested: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError

    monkeypatch.setattr("channels.db.close_old_connections", fail)
    with pytest.raises(DatabaseUnavailable):
        async with asyncio.timeout(PATIENCE):
            await tested.run(divmod, (7, 2), {}, "room")


async def test_one_call_of_a_room_waits_and_other_rooms_do_not(
    tested: Calls, blocked: Blocked, probe: FakeProbe
) -> None:
    waiting = [run(tested, blocked, str(n), room="slow") for n in range(8)]
    others = [run(tested, str, n, room=f"room{n % 3}") for n in range(20)]
    assert await asyncio.gather(*others) == [str(n) for n in range(20)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable] + 7 * [RowLocked]
    assert blocked.begun == ["0"]
    assert probe.count > 0
    assert not tested._breaker.is_open  # the database is not to blame
    late = run(tested, str, 1, room="slow")
    with pytest.raises(RowLocked):  # the thread has not returned yet
        await late
    blocked.released.set()
    await until(lambda: not tested._calls)
    assert await tested.run(str, (1,), {}, "slow") == "1"


async def test_the_calls_of_a_room_keep_their_order(tested: Calls) -> None:
    order: list[int] = []
    await asyncio.gather(*(run(tested, order.append, n, room="one") for n in range(50)))
    assert order == list(range(50))


async def test_many_leaves_at_once_delay_no_handshake(probe: FakeProbe, db: None) -> None:
    tested = Calls(Workers(1, "tested"), Breaker(probe, on_open=lambda: None), 2.0)
    begun, goes_on, order = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        goes_on.wait(PATIENCE)

    made = [run(tested, first, room="first")]
    await asyncio.to_thread(begun.wait, PATIENCE)
    made += [run(tested, order.append, "leave", room=str(n)) for n in range(100)]
    made += [run(tested, order.append, "handshake") for _ in range(2)]
    await until(lambda: len(tested._calls) == len(made))
    await asyncio.sleep(0)  # all have been submitted
    goes_on.set()
    await asyncio.gather(*made)
    assert order[:4] == ["leave", "handshake"] * 2


async def test_slow_calls_of_several_rooms_are_given_more_threads(
    tested: Calls, blocked: Blocked
) -> None:
    slow = [run(tested, blocked, str(n), room=str(n)) for n in range(2)]
    assert await tested.run(str, (1,), {}) == "1"
    results = await asyncio.gather(*slow, return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailable) for result in results)


async def test_calls_that_no_thread_begins_fail_in_time(tested: Calls, blocked: Blocked) -> None:
    everything = [run(tested, blocked, str(n), room=str(n)) for n in range(10)]
    results = await asyncio.gather(*everything, return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    blocked.released.set()
    await until(lambda: not tested._calls)
    assert len(blocked.begun) <= 2 + calls.SPARE_THREADS  # the others were not begun late


async def test_a_locked_row_is_tried_again_and_then_reported(tested: Calls) -> None:
    attempts: list[str] = []

    def locked(*, times: int) -> str:
        attempts.append("locked")
        if len(attempts) <= times:
            raise RowLocked("canceling statement due to lock timeout")
        return "done"

    assert await tested.run(locked, (), {"times": 3}, "room") == "done"
    attempts.clear()
    first = asyncio.create_task(tested.run(locked, (), {"times": 10**6}, "room"))
    behind = run(tested, str, 1, room="room")
    for each in (first, behind):
        with pytest.raises(RowLocked):
            await each
    assert len(attempts) > 1
    attempts.clear()
    with pytest.raises(RowLocked):  # a worker's own work has no room, and is repeated anyway
        await tested.run(locked, (), {"times": 1}, None)
    assert len(attempts) == 1


async def test_an_outage_fails_all_calls_at_once(
    tested: Calls, blocked: Blocked, probe: FakeProbe
) -> None:
    running = [run(tested, blocked, str(n), room=str(n % 4)) for n in range(8)]
    probe.error = ConnectionError("refused")

    def refuse() -> None:
        raise OperationalError("refused")

    failing = run(tested, refuse)
    results = await asyncio.gather(*running, failing, return_exceptions=True)
    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    begun = len(blocked.begun)
    with pytest.raises(DatabaseUnavailable):
        await tested.run(blocked, ("late",), {})
    assert len(blocked.begun) == begun


async def test_a_cancelled_call_that_waits_is_not_made(tested: Calls, blocked: Blocked) -> None:
    first = run(tested, blocked, "first", room="room")
    second = run(tested, blocked, "second", room="room")
    await until(lambda: blocked.begun)
    second.cancel()
    blocked.released.set()
    assert await first == "first"
    await until(lambda: not tested._calls)
    assert blocked.begun == ["first"]
