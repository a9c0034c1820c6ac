"""Which errors of the database mean that it is unavailable, and which only that a row is locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from django.db import InterfaceError, InternalError, OperationalError
from django.utils.translation import gettext_lazy as _

RETRY_AFTER = 2
"""Seconds until a refused request may be sent again."""
MESSAGE = _("The service is unavailable. Try again in a few seconds.")

# Codes of PostgreSQL, Appendix A. After a failover the server may be a read-only standby. Then the
# first write fails with 25006, the rest of its transaction with 25P02; 25P03 ends an idle one.
_READ_ONLY = {"25006", "25P02", "25P03"}
# The lock was not available within ``lock_timeout``; a deadlock; a serialisation failure.
_LOCKED = {"55P03", "40P01", "40001"}
_SQLITE_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

monitors: list[Callable[[], bool]] = []
"""Functions that return whether the database is known to be unavailable."""


class DatabaseUnavailable(OperationalError):
    """The database does not respond, or refuses writes. A write may have succeeded nevertheless."""


class RowLocked(OperationalError):
    """Another transaction holds a lock for too long. Nothing was written; the database works."""


def is_locked(error: BaseException) -> bool:
    """Return whether a call failed because of a lock of another transaction. It may be repeated."""
    if not isinstance(error, OperationalError):
        return False
    sqlite_code: int = getattr(error.__cause__, "sqlite_errorcode", 0)
    return (
        isinstance(error, RowLocked)
        or _sqlstate(error) in _LOCKED
        or sqlite_code & 0xFF in _SQLITE_LOCKED  # the rest of an extended code has details
    )


def is_outage(error: BaseException) -> bool:
    """Return whether a call failed because the database is unavailable or read-only."""
    if isinstance(error, InternalError):
        return is_read_only(error)
    return isinstance(error, (OperationalError, InterfaceError)) and not is_locked(error)


def is_read_only(error: BaseException) -> bool:
    """Return whether a call failed because it writes and the connection is read-only."""
    return _sqlstate(error) in _READ_ONLY


def is_refusal(error: BaseException) -> bool:
    """Return whether a request may be sent again after this error: 503 with ``Retry-After``."""
    return is_outage(error) or is_locked(error)


def check() -> None:
    """Raise ``DatabaseUnavailable`` if the database is known to be unavailable."""
    if any(monitor() for monitor in monitors):
        raise DatabaseUnavailable("the database is known to be unavailable")


def _sqlstate(error: BaseException) -> str | None:
    # psycopg; psycopg2 has another name for it.
    cause = error.__cause__
    code: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return code
