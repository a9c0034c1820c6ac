"""The clock of the database server, which decides all times that processes compare.

Each process has a clock of its own, and two clocks are never equal. So times are written and
compared in SQL, with ``Now()``, or with the ``now`` of a row that was just read. ``clock`` estimates
the same time without a query, for announcements.

With ``USE_TZ = False`` these times have no offset: SQLite's are in UTC, PostgreSQL's in
``TIME_ZONE``. ``with_offset`` adds it, for all that leaves the database. Columns that people read
are in ``TIME_ZONE`` as those of the site: see ``LocalNow`` and ``local``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models.functions import Now
from django.utils import timezone

from . import primary


def with_offset(time: datetime) -> datetime:
    """Return a time by the clock of the database in UTC, with the offset that it may lack."""
    if timezone.is_naive(time):
        is_utc = connections[primary.alias()].vendor == "sqlite"
        time = time.replace(tzinfo=UTC if is_utc else timezone.get_default_timezone())
    return time.astimezone(UTC)


def local(time: datetime) -> datetime:
    """Return a time by the clock of the database as the site stores its own."""
    return with_offset(time) if settings.USE_TZ else timezone.make_naive(with_offset(time))


class LocalNow(Now):
    """``Now()`` for columns that people read. See ``local``."""

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        if settings.USE_TZ:
            return super().as_sqlite(compiler, connection, **context)
        # Django sets the time zone of the process to ``TIME_ZONE``, which SQLite uses.
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', 'localtime')"
        return self.as_sql(compiler, connection, template=template, **context)


class DatabaseClock:
    """Estimates the time of the database server from the last time that was read there."""

    def __init__(self) -> None:
        self._read: tuple[datetime, float] | None = None

    def observe(self, now: datetime, *, at: float) -> None:
        """Note the time ``now`` of the server; ``at``: ``monotonic`` when the query was sent."""
        self._read = with_offset(now), at

    def now(self) -> datetime:
        """Return the time of the server in UTC; that of this process if it was never read."""
        if self._read is None:
            now = timezone.now()
            return now if settings.USE_TZ else timezone.make_aware(now).astimezone(UTC)
        now, at = self._read
        return now + timedelta(seconds=monotonic() - at)

    def seconds_until(self, time: datetime) -> float:
        """Return the seconds from now to ``time``, at least 0, in milliseconds' precision."""
        return round(max((with_offset(time) - self.now()).total_seconds(), 0.0), 3)

    def reset(self) -> None:
        """Forget what was read."""
        self._read = None


clock = DatabaseClock()
