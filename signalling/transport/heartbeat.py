"""Detects clients that have stopped sending, and knows when each was certainly there."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from .timers import Timers

IDLE_SECONDS = 1.0
"""A frame that comes so long after the last one was handled has not waited."""


class Heartbeat:
    """Calls ``on_timeout`` after ``timeout`` seconds without a frame. Idle until ``expect``.

    The consumer calls ``begin`` and ``end`` for each frame that it handles.
    """

    __slots__ = (
        "_handled_at",
        "_on_timeout",
        "_timeout",
        "_timers",
        "_waited",
        "last_frame_at",
        "proven_at",
    )

    def __init__(self, timers: Timers, timeout: float, on_timeout: Callable[[], None]) -> None:
        self.last_frame_at = self.proven_at = self._handled_at = monotonic()
        """``last_frame_at``: when the last frame was read (``time.monotonic``). ``proven_at``: not
        later than when it arrived, because it may have waited while an earlier one was handled, or
        while this process was suspended."""
        self._waited = 0.0
        """How long the last frame may have waited."""
        self._timers = timers
        self._timeout = timeout
        self._on_timeout = on_timeout

    def expect(self) -> None:
        """Expect a frame from the client at least every ``timeout`` seconds from now on."""
        if not self._timers.is_running(self._check):
            self._timers.start(self._timeout, self._check)

    def begin(self, now: float, alive_until: float) -> None:
        """Note that a frame was read. After ``alive_until`` this process may have been suspended."""
        idle = now - self._handled_at
        self.last_frame_at = now
        if now > alive_until:
            self._waited = now - self.proven_at
        elif self._waited:
            self._waited = 0.0 if idle > IDLE_SECONDS else max(0.0, self._waited - idle)
        if (proven_at := now - self._waited) > self.proven_at:
            self.proven_at = proven_at

    def end(self) -> None:
        """Note that the frame was handled. The next ones have waited for this."""
        self._handled_at = now = monotonic()
        self._waited += now - self.last_frame_at

    def _check(self) -> None:
        silence = monotonic() - self.last_frame_at
        if silence < self._timeout:
            self._timers.start(self._timeout - silence, self._check)
        else:
            self._on_timeout()
