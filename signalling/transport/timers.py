"""The timers of one socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """At most one timer per function. When it expires, ``run`` is called with the function."""

    __slots__ = ("_run", "_timers")

    def __init__(self, run: Callable[[Callable[[], None]], None]) -> None:
        self._run = run
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def start(self, seconds: float, function: Callable[[], None]) -> None:
        """Start the timer of a function, and cancel a previous one."""
        self.cancel(function)
        loop = asyncio.get_running_loop()
        self._timers[function] = loop.call_later(seconds, self._run, function)

    def is_running(self, function: Callable[[], None]) -> bool:
        return function in self._timers

    def cancel(self, function: Callable[[], None]) -> None:
        timer = self._timers.pop(function, None)
        if timer is not None:
            timer.cancel()

    def cancel_all(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
