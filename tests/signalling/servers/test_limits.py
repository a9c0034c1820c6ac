"""``Deadlines``: connections that have to do something in time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from signalling.servers import limits
from signalling.servers.limits import Deadlines


class Clock:
    """Stands for the event loop: its time only passes with ``advance``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, function: Callable[[], None]) -> object:
        self.timers.append((when, function))
        return object()

    def call_later(self, seconds: float, function: Callable[[], None]) -> object:
        return self.call_at(self.now + seconds, function)

    def advance(self, seconds: float) -> None:
        """Let time pass, and call what is due at the moment when it is due."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = end


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "asyncio", SimpleNamespace(get_running_loop=lambda: clock))
    return clock


class Connections:
    """Connections with a deadline, and the names of those whose time is up."""

    def __init__(self, seconds: float, most: int | None = None) -> None:
        self.deadlines = Deadlines(seconds, most)
        self.expired: list[str] = []

    def start(self, *names: str) -> None:
        for name in names:
            self.deadlines.start(name, lambda name=name: self.expired.append(name))  # type: ignore[misc]


def test_each_connection_expires_once_in_order(clock: Clock) -> None:
    connections = Connections(10)
    connections.start("a", "b")
    clock.advance(9.9)
    assert connections.expired == []
    clock.advance(0.1)
    assert connections.expired == ["a", "b"]
    assert len(connections.deadlines) == 0
    connections.start("c")
    clock.advance(10)
    assert connections.expired == ["a", "b", "c"]
    assert clock.timers == []


def test_a_connection_that_is_done_does_not_expire(clock: Clock) -> None:
    connections = Connections(10)
    connections.start("a", "b")
    connections.deadlines.done("a")
    connections.deadlines.done("a")
    assert "b" in connections.deadlines
    clock.advance(10)
    assert connections.expired == ["b"]


def test_a_connection_that_starts_again_has_the_whole_time(clock: Clock) -> None:
    connections = Connections(10)
    connections.start("a", "b")
    clock.advance(6)
    connections.start("a")
    clock.advance(9)
    assert connections.expired == ["b"]
    clock.advance(1)
    assert connections.expired == ["b", "a"]


def test_a_connection_may_start_again_when_it_expires(clock: Clock) -> None:
    """As one whose client waits for the server."""
    deadlines = Deadlines(10)
    calls: list[float] = []

    def expire() -> None:
        calls.append(clock.now)
        if len(calls) < 3:
            deadlines.start("a", expire)

    deadlines.start("a", expire)
    clock.advance(100)
    assert calls == [1010, 1020, 1030]
    assert len(deadlines) == 0


def test_the_connections_that_have_waited_longest_make_room(clock: Clock) -> None:
    connections = Connections(60, most=2)
    connections.start("a", "b")
    clock.advance(limits.GRACE_SECONDS)
    assert connections.expired == []
    connections.start("c", "d")
    assert connections.expired == ["a", "b"]


def test_a_burst_of_connections_is_not_an_attack() -> None:
    """Nobody has waited for ``GRACE_SECONDS``."""
    connections = Connections(60, most=2)
    connections.start("a", "b", "c", "d")
    assert connections.expired == []
    assert len(connections.deadlines) == 4


def test_a_connection_that_cannot_be_ended_does_not_stop_the_others(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the handler is closed")

    connections = Connections(10)
    connections.deadlines.start("broken", fail)
    connections.start("a")
    clock.advance(10)
    assert connections.expired == ["a"]
    assert "Could not end a connection" in caplog.text
    connections.start("b")
    clock.advance(10)
    assert connections.expired == ["a", "b"]
