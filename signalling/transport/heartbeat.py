"""Detects clients that have stopped sending, and knows when each was certainly there."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from .timers import Timers

BLOCKED_SECONDS = 0.01
"""A frame that takes longer delays the frames that follow it."""
IDLE_SECONDS = 1.0
"""A frame that comes so long after the last one was handled has not waited."""


class Heartbeat:
    """Calls ``on_timeout`` after ``timeout`` seconds without a frame. Idle until ``expect``.

    The consumer sets ``last_frame_at`` for each frame, and then calls ``end`` when it has handled it.
    If a frame ``may_have_waited``, it calls ``begin`` before.
    """

    __slots__ = (
        "_handled_at",
        "_on_timeout",
        "_proven_at",
        "_timeout",
        "_timers",
        "_waited",
        "last_frame_at",
        "may_have_waited",
    )

    def __init__(self, timers: Timers, timeout: float, on_timeout: Callable[[], None]) -> None:
        self.last_frame_at = self._proven_at = self._handled_at = monotonic()
        """``last_frame_at``: when the last frame was read (``time.monotonic``)."""
        self.may_have_waited = False
        self._waited = 0.0
        """How long the last frame may have waited: while an earlier one was handled, or while this
        process was suspended."""
        self._timers = timers
        self._timeout = timeout
        self._on_timeout = on_timeout

    @property
    def proven_at(self) -> float:
        """When the client was certainly there: not later than when its last frame arrived."""
        return self._proven_at if self.may_have_waited else self.last_frame_at

    def expect(self) -> None:
        """Expect a frame from the client at least every ``timeout`` seconds from now on."""
        if not self._timers.is_running(self._check):
            self._timers.start(self._timeout, self._check)

    def begin(self, now: float, alive_until: float) -> None:
        """Note that a frame was read. After ``alive_until`` this process may have been suspended."""
        before, idle = self.proven_at, now - self._handled_at
        if now > alive_until:
            self._waited = now - before
        else:
            self._waited = 0.0 if idle > IDLE_SECONDS else max(0.0, self._waited - idle)
        self.may_have_waited = self._waited > 0
        self._proven_at = max(before, now - self._waited)

    def end(self) -> None:
        """Note that the frame was handled. If that took long, the next ones have waited for it."""
        now = monotonic()
        if now - self.last_frame_at > BLOCKED_SECONDS or self.may_have_waited:
            self._proven_at = self.proven_at
            self._handled_at = now
            self._waited += now - self.last_frame_at
            self.may_have_waited = True

    def _check(self) -> None:
        silence = monotonic() - self.last_frame_at
        if silence < self._timeout:
            self._timers.start(self._timeout - silence, self._check)
        else:
            self._on_timeout()
