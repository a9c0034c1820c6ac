"""The default cache, replaced by one in this process while it is unavailable.

Requests and joins count in it, so an outage must neither fail them nor hold them up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from .deadlines import Workers
from .logs import RareWarning, describe

logger = logging.getLogger("rooms")

T = TypeVar("T")

DEADLINE = 0.5
"""Seconds that the cache has to respond: joins and sign-ins wait for it."""
RETRY_SECONDS = 10
"""Seconds until a cache that was unavailable is tried again: each attempt may cost a timeout."""

_workers = Workers(4, "signalling-cache")


class SharedCache:
    """The default cache for one purpose, with a bounded substitute of its own.

    The substitute also replaces a default cache that belongs to one process anyway. ``counted`` is
    the purpose, in the log.
    """

    def __init__(self, counted: str) -> None:
        self.local = LocMemCache(f"signalling-{counted}", {"OPTIONS": {"MAX_ENTRIES": 10_000}})
        self._retry_at = 0.0
        self._warning = RareWarning(
            logger, f"Cache unavailable, each process counts {counted} alone: %s"
        )

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, as ``django.core.cache`` does."""
        return self.run(lambda cache: cache.get(key, default))

    def set(self, key: str, value: Any, timeout: float | None = None) -> None:
        """Store a value for ``timeout`` seconds, as ``django.core.cache`` does."""
        self.run(lambda cache: cache.set(key, value, timeout))

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
        """Forget what this process stored itself, and any outage."""
        self.local.clear()
        self._retry_at = 0.0
        self._warning.reset()

    def _became_unavailable(self, error: Exception) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._warning.log(describe(error))
