"""Count failures such as wrong codes, for all workers together, and delay further attempts.

Failures are counted in the default cache, so workers that share a Redis or Memcached count together.
While that cache is unavailable, and on sites whose default cache belongs to one process, each worker
counts for itself. All functions block: do not call them on an event loop.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.utils.crypto import salted_hmac

from .conf import conf
from .deadlines import Workers
from .exceptions import RateLimited
from .logs import RareWarning

logger = logging.getLogger("rooms")

T = TypeVar("T")

LONGEST = 60
"""The longest delay, in seconds."""
DEADLINE = 0.5
"""Seconds that the cache has to respond: joins and sign-ins wait for it."""
RETRY_SECONDS = 10
"""Seconds until a cache that was unavailable is tried again: each attempt may cost a timeout."""


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


class Store:
    """The shared cache, replaced by a bounded one in this process while it is unavailable."""

    def __init__(self) -> None:
        self.local = LocMemCache("signalling-failures", {"OPTIONS": {"MAX_ENTRIES": 10_000}})
        self._retry_at = 0.0
        self._warning = RareWarning(
            logger, "Cache unavailable, each process counts failures alone: %r"
        )

    def run(self, operation: Callable[[BaseCache], T]) -> T:
        """Return ``operation(cache)``."""
        cache, now = caches[DEFAULT_CACHE_ALIAS], time.monotonic()
        if type(cache) in (LocMemCache, DummyCache) or now < self._retry_at:
            return operation(self.local)
        if self._retry_at:  # it was unavailable: the other threads do not wait for this attempt
            self._retry_at = now + RETRY_SECONDS
        try:
            # A database has the connection and the timeouts of this thread.
            if isinstance(cache, DatabaseCache):
                result = operation(cache)
            else:
                result = _workers.run(lambda: operation(caches[DEFAULT_CACHE_ALIAS]), DEADLINE)
        except Exception as error:  # each backend raises its own exceptions
            self._became_unavailable(error)
            return operation(self.local)
        self._retry_at = 0.0
        return result

    def clear(self) -> None:
        """Forget the failures that this process counted itself, and any outage."""
        self.local.clear()
        self._retry_at = 0.0
        self._warning.reset()

    def _became_unavailable(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._warning.log(error)


_workers = Workers(4, "signalling-failures")
store = Store()


def _wait(keys: list[str], limit: int, cache: BaseCache) -> int:
    counts = cache.get_many(keys)
    excess = _excess([counts.get(key, 0) for key in keys], limit)
    if excess < 0:
        return 0
    gate, now, delay = _gate(keys), time.time(), _delay(excess)
    if cache.add(gate, now + delay, delay):  # atomic: one attempt of all workers
        return 0
    opens_at: float = cache.get(gate, now)
    return min(max(math.ceil(opens_at - now), 1), LONGEST)  # the clocks of workers differ


def _peek(keys: list[str], limit: int, cache: BaseCache) -> int:
    counts = cache.get_many([*keys, _gate(keys)])
    if _excess([counts.get(key, 0) for key in keys], limit) < 0:
        return 0
    opens_at: float = counts.get(_gate(keys), 0)
    return min(max(math.ceil(opens_at - time.time()), 0), LONGEST)


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


def _gate(keys: list[str]) -> str:
    return f"{keys[0]}.gate"
