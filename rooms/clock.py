"""The clock of the database server, which decides all times that processes compare.

Each process has a clock of its own, and two clocks are never equal. So times are written and
compared in SQL, with ``Now()``, or with the ``now`` of a row that was just read. ``clock`` estimates
the same time without a query, for announcements.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

from django.utils import timezone


class DatabaseClock:
    """Estimates the time of the database server from the last time that was read there."""

    def __init__(self) -> None:
        self._read: tuple[datetime, float] | None = None

    def observe(self, now: datetime, *, at: float) -> None:
        """Note the time ``now`` of the server; ``at``: ``monotonic`` when the query was sent."""
        self._read = now, at

    def now(self) -> datetime:
        """Return the time of the server; that of this process if it has not been read yet."""
        if self._read is None:
            return timezone.now()
        now, at = self._read
        return now + timedelta(seconds=monotonic() - at)

    def seconds_until(self, time: datetime) -> float:
        """Return the seconds from now to ``time``, at least 0, in milliseconds' precision."""
        return round(max((time - self.now()).total_seconds(), 0.0), 3)

    def reset(self) -> None:
        """Forget what was read."""
        self._read = None


clock = DatabaseClock()
