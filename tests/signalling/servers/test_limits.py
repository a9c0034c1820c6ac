"""``Deadlines``: connections that have to do something in time."""

from __future__ import annotations

import asyncio

import pytest

from signalling.servers import limits
from signalling.servers.limits import Deadlines


class Connections:
    """Connections with a deadline, and the names of those whose time is up."""

    def __init__(self, seconds: float, most: int | None = None) -> None:
        self.deadlines = Deadlines(seconds, most)
        self.expired: list[str] = []
        self.changed = asyncio.Event()

    def start(self, *names: str) -> None:
        for name in names:
            self.deadlines.start(name, lambda name=name: self._expire(name))  # type: ignore[misc]

    def _expire(self, name: str) -> None:
        self.expired.append(name)
        self.changed.set()

    async def wait_for(self, *names: str) -> None:
        async with asyncio.timeout(5):
            while self.expired != list(names):
                self.changed.clear()
                await self.changed.wait()


async def test_each_connection_expires_once_in_order() -> None:
    connections = Connections(0.02)
    connections.start("a", "b")
    await connections.wait_for("a", "b")
    assert len(connections.deadlines) == 0
    connections.start("c")
    await connections.wait_for("a", "b", "c")


async def test_a_connection_that_is_done_does_not_expire() -> None:
    connections = Connections(0.02)
    connections.start("a", "b")
    connections.deadlines.done("a")
    connections.deadlines.done("a")
    assert "b" in connections.deadlines
    await connections.wait_for("b")


async def test_a_connection_that_starts_again_has_the_whole_time() -> None:
    connections = Connections(0.05)
    connections.start("a", "b")
    await asyncio.sleep(0.02)
    connections.start("a")
    await connections.wait_for("b", "a")


async def test_a_connection_may_start_again_when_it_expires() -> None:
    """As one whose client waits for the server."""
    deadlines = Deadlines(0.01)
    calls: list[int] = []
    done = asyncio.Event()

    def expire() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            deadlines.start("a", expire)
        else:
            done.set()

    deadlines.start("a", expire)
    async with asyncio.timeout(5):
        await done.wait()
    assert len(deadlines) == 0


async def test_the_connections_that_have_waited_longest_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "GRACE_SECONDS", 0.0)
    connections = Connections(60, most=2)
    connections.start("a", "b")
    assert connections.expired == []
    connections.start("c", "d")
    assert connections.expired == ["a", "b"]


async def test_a_burst_of_connections_is_not_an_attack() -> None:
    """Nobody has waited for ``GRACE_SECONDS``."""
    connections = Connections(60, most=2)
    connections.start("a", "b", "c", "d")
    assert connections.expired == []
    assert len(connections.deadlines) == 4


async def test_a_connection_that_cannot_be_ended_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("the handler is closed")

    connections = Connections(0.01)
    connections.deadlines.start("broken", fail)
    connections.start("a")
    await connections.wait_for("a")
    assert "Could not end a connection" in caplog.text
    connections.start("b")
    await connections.wait_for("a", "b")
