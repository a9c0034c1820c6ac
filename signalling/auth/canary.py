"""Whether a cache still has what was stored in it.

A cache loses everything at a restart and at ``cache.clear()``. Some backends hide an outage, and
then seem to have lost everything too. Neither is a reason to end the calls of all sessions in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from contextlib import suppress
from time import monotonic

from django.core.cache.backends.base import BaseCache

KEYS = 16
"""Several, because a cache may be spread over servers of which one fails."""


class Canary:
    """Keys that this process stores among the sessions, and whose loss shows that of others."""

    def __init__(self) -> None:
        name = secrets.token_hex(8)
        self.keys = [f"signalling.canary.{name}.{number}" for number in range(KEYS)]
        self.lost_at = 0.0
        """When a loss was last noticed (``time.monotonic``); 0 if never."""
        self._is_stored = False

    def store(self, cache: BaseCache) -> None:
        """Store the keys, unless that was done before. Raises nothing."""
        if not self._is_stored:
            with suppress(Exception):  # each backend raises its own exceptions
                cache.set_many(dict.fromkeys(self.keys, 1), None)
                self._is_stored = True

    def observe(self, cache: BaseCache, found: Collection[str]) -> None:
        """Note a loss, and store the keys again, if one of ``keys`` is not among those found."""
        if any(key not in found for key in self.keys):
            self.lost_at = monotonic()
            cache.set_many(dict.fromkeys(self.keys, 1), None)

    def look(self, cache: BaseCache) -> bool:
        """Look up the keys, and note a loss or an outage. Return false if the cache raises."""
        try:
            self.observe(cache, cache.get_many(self.keys))
        except Exception:  # each backend raises its own exceptions
            self.lost_at = monotonic()
            return False
        return True


canary = Canary()
