"""Rate limiting in memory: a token bucket, and a throttle for failures.

No I/O, injectable clock.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
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


class FailureThrottle:
    """Slows down guessing: from ``limit`` failures within ``window`` seconds on, each adds a delay.

    The delay doubles with each failure (1 s, 2 s, 4 s … ``longest``) and starts at the last one. A
    success does not reset it, because an attacker could use one valid code of their own for that.
    State is kept per process, for at most ``size`` keys: the key whose last failure is oldest is
    dropped first.
    """

    def __init__(
        self,
        limit: int = 10,
        window: float = 1800.0,
        longest: float = 60.0,
        size: int = 10_000,
        clock: Clock = time.monotonic,
    ) -> None:
        self.limit = limit
        self.window = window
        self.longest = longest
        self.size = size
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def failed(self, *keys: str) -> None:
        """Count one failure for each key."""
        now = self._clock()
        for key in keys:
            times = self._failures.setdefault(key, deque(maxlen=self.limit + 16))
            times.append(now)
            self._failures.move_to_end(key)
        while len(self._failures) > self.size:
            self._failures.popitem(last=False)

    def wait(self, *keys: str) -> float:
        """Return the seconds until all of the keys may try again, 0 if they may now."""
        return max((self._wait(key) for key in keys), default=0.0)

    def _wait(self, key: str) -> float:
        times = self._failures.get(key)
        if not times:
            return 0.0
        now = self._clock()
        while times and times[0] <= now - self.window:
            times.popleft()
        if len(times) < self.limit:
            return 0.0
        delay = min(2.0 ** (len(times) - self.limit), self.longest)
        return max(0.0, times[-1] + delay - now)


def network(address: str) -> str:
    """Return the throttling key for an address: an IPv6 address is reduced to its /64 network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return address
    if ip.ipv4_mapped:  # IPv4 clients of a dual-stack socket
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, 64), strict=False))
