"""Rate limiting in memory with a token bucket. No I/O, injectable clock."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class TokenBucket:
    """A token bucket: at most ``burst`` tokens, refilled at ``rate`` per second."""

    __slots__ = ("_clock", "_filled_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._filled_at = clock()

    def take(self, cost: float = 1.0, now: float | None = None) -> float:
        """Take ``cost`` tokens and return 0, or take none and return the seconds to wait for them.

        ``now``: the clock's current value, if the caller has it already.
        """
        if now is None:
            now = self._clock()
        tokens = self._tokens + (now - self._filled_at) * self.rate
        if tokens > self.burst:
            tokens = self.burst
        self._filled_at = now
        if tokens >= cost:
            self._tokens = tokens - cost
            return 0.0
        self._tokens = tokens
        return (cost - tokens) / self.rate

    def give_back(self, cost: float) -> None:
        """Return tokens that were taken for nothing."""
        self._tokens = min(self.burst, self._tokens + cost)
