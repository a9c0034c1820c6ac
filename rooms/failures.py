"""Count failures such as wrong codes, for all workers together, and delay further attempts.

Failures are counted in the default cache, so workers that share a Redis or Memcached count together.
While that cache is unavailable, and on sites whose default cache belongs to one process, each worker
counts for itself. All functions block: do not call them on an event loop.
"""

from __future__ import annotations

import math
import time
from functools import partial

from django.core.cache.backends.base import BaseCache
from django.utils.crypto import salted_hmac

from .conf import conf
from .exceptions import RateLimited
from .shared_cache import SharedCache

LONGEST = 60
"""The longest delay, in seconds."""


class Throttle:
    """Slows down the guessing of one kind of secret.

    A failure counts for the *guesser*, such as a user, and for ``shared`` keys, such as an address.
    From ``FAILURE_LIMIT`` failures of a guesser on, each adds a delay: 1 s, 2 s, 4 s … ``LONGEST``.
    During a delay the guesser is refused. Afterwards one attempt is allowed, whatever its result,
    and not one for each worker. A success resets nothing, because an attacker could use a secret of
    their own for that.

    Others share an address, so a shared key refuses nobody: from ``SHARED_FAILURE_LIMIT`` failures
    on, the delays of each guesser there begin with the first failure.

    ``is_shared``: the guesser itself is such a key, and has ``SHARED_FAILURE_LIMIT`` failures.
    """

    def __init__(self, kind: str, *, is_shared: bool = False) -> None:
        self.kind = kind
        self.is_shared = is_shared

    def wait(self, guesser: str, *shared: str) -> int:
        """Return 0 if the guesser may make an attempt now, otherwise the seconds to wait."""
        return store.run(partial(_wait, self._keys(guesser, *shared), self._limit))

    def check(self, guesser: str, *shared: str) -> None:
        """Raise ``RateLimited`` if the guesser may not make an attempt now."""
        if wait := self.wait(guesser, *shared):
            raise RateLimited(retry_after=wait)

    def peek(self, guesser: str, *shared: str) -> None:
        """Raise ``RateLimited`` during a delay. Unlike ``check``, leave the next attempt to others."""
        if wait := store.run(partial(_peek, self._keys(guesser, *shared), self._limit)):
            raise RateLimited(retry_after=wait)

    def is_exceeded(self, shared: str) -> bool:
        """Return whether ``SHARED_FAILURE_LIMIT`` failures were counted for a shared key."""
        (key,) = self._keys(shared)
        count: int = store.run(lambda cache: cache.get(key, 0))
        return count >= conf().shared_failure_limit

    def failed(self, guesser: str, *shared: str) -> None:
        """Count a failure."""
        store.run(partial(_count, self._keys(guesser, *shared), self._limit))

    @property
    def _limit(self) -> int:
        return conf().shared_failure_limit if self.is_shared else conf().failure_limit

    def _keys(self, *names: str) -> list[str]:
        # Hashed with the site's key: sites may share a cache, and names may be personal.
        return [
            f"signalling.failures.{salted_hmac(self.kind, name, algorithm='sha256').hexdigest()}"
            for name in names
        ]


store = SharedCache("failures")


def _wait(keys: list[str], limit: int, cache: BaseCache) -> int:
    counts = cache.get_many(keys)
    excess = _excess([counts.get(key, 0) for key in keys], limit)
    if excess < 0:
        return 0
    gate, now, delay = _gate(keys), time.time(), _delay(excess)
    if cache.add(gate, now + delay, delay):  # atomic: one attempt of all workers
        return 0
    opens_at: float = cache.get(gate, now)
    return _seconds_until(opens_at)


def _peek(keys: list[str], limit: int, cache: BaseCache) -> int:
    counts = cache.get_many([*keys, _gate(keys)])
    if _excess([counts.get(key, 0) for key in keys], limit) < 0:
        return 0
    opens_at: float | None = counts.get(_gate(keys))
    return 0 if opens_at is None else _seconds_until(opens_at)


def _count(keys: list[str], limit: int, cache: BaseCache) -> None:
    excess = _excess([_increment(key, cache) for key in keys], limit)
    if excess >= 0:
        delay = _delay(excess)
        cache.set(_gate(keys), time.time() + delay, delay)


def _increment(key: str, cache: BaseCache) -> int:
    window = int(conf().failure_window)
    if cache.add(key, 1, window):
        return 1
    try:
        count = int(cache.incr(key))
    except ValueError:  # it expired between the two calls
        count = 1
        cache.set(key, count, window)
    if count == 1:  # likewise: Redis makes a key without an expiry then
        cache.touch(key, window)
    return count


def _excess(counts: list[int], limit: int) -> int:
    """Return how far the first count is over its limit; negative if it is below."""
    own, *shared = counts
    is_shared_limit_reached = any(count >= conf().shared_failure_limit for count in shared)
    return own - (1 if is_shared_limit_reached else limit)


def _delay(excess: int) -> int:
    return min(1 << min(excess, 10), LONGEST)


def _seconds_until(opens_at: float) -> int:
    """Return how long a gate stays, which the cache knows best: the clocks of workers differ."""
    return min(max(math.ceil(opens_at - time.time()), 1), LONGEST)


def _gate(keys: list[str]) -> str:
    return f"{keys[0]}.gate"
