"""System checks of the database: ``signalling_rooms.E009`` and ``signalling_rooms.W001``."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning

from . import primary

HINT = (
    'Set "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": '
    '"PRAGMA journal_mode=WAL;"} in DATABASES, or use PostgreSQL.'
)


@register()
def check_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report deferred SQLite transactions, which fail if they read, wait and then write.

    An error if all requests are such transactions, or if the site uses WAL: then a transaction that
    has read cannot write after a write of any other connection.
    """
    alias = primary.alias()
    database = settings.DATABASES[alias]
    options = database.get("OPTIONS", {})
    mode = str(options.get("transaction_mode", "")).upper()
    if not database["ENGINE"].endswith("sqlite3") or mode in {"IMMEDIATE", "EXCLUSIVE"}:
        return []
    uses_wal = "wal" in str(options.get("init_command", "")).lower()
    if not uses_wal and not database.get("ATOMIC_REQUESTS"):
        return [
            CheckWarning(
                f"The SQLite database {alias!r} does not use IMMEDIATE transactions.",
                hint=f"{HINT} Otherwise concurrent transactions of your site may fail with "
                '"database is locked".',
                id="signalling_rooms.W001",
            )
        ]
    reason = "WAL" if uses_wal else "ATOMIC_REQUESTS"
    return [
        Error(
            f'Requests of your site will fail with "database is locked": the SQLite database '
            f"{alias!r} has {reason} without IMMEDIATE transactions.",
            hint=f"{HINT} If you accept that requests fail, add 'signalling_rooms.E009' to "
            "SILENCED_SYSTEM_CHECKS.",
            id="signalling_rooms.E009",
        )
    ]
