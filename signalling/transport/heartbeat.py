"""Detects clients that have stopped sending."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from .timers import Timers


class Heartbeat:
    """Calls ``on_timeout`` after ``timeout`` seconds without a frame. Idle until ``expect``."""

    __slots__ = ("_on_timeout", "_timeout", "_timers", "last_frame_at")

    def __init__(self, timers: Timers, timeout: float, on_timeout: Callable[[], None]) -> None:
        self.last_frame_at = monotonic()
        """The ``time.monotonic`` of the last frame; the consumer updates it."""
        self._timers = timers
        self._timeout = timeout
        self._on_timeout = on_timeout

    def expect(self) -> None:
        """Expect a frame from the client at least every ``timeout`` seconds from now on."""
        if not self._timers.is_running(self._check):
            self._timers.start(self._timeout, self._check)

    def _check(self) -> None:
        silence = monotonic() - self.last_frame_at
        if silence < self._timeout:
            self._timers.start(self._timeout - silence, self._check)
        else:
            self._on_timeout()
