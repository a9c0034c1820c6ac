"""Transactions that do no harm to the others on an SQLite database with deferred transactions.

That is Django's default. A request that has read holds a shared lock until its transaction ends. If
it then writes while another connection holds the lock for writing, or waits for the shared ones to
end in order to commit, SQLite does not let it wait: "database is locked". So a transaction here
begins only when no other one is open, and holds no lock while it waits for that.

https://www.sqlite.org/lockingv3.html, section 5.1; https://www.sqlite.org/c3ref/busy_handler.html
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from django.db import OperationalError

from . import outages

PAUSE_SECONDS = 0.01
"""Between two attempts to begin. Each attempt holds a lock for some microseconds."""


def is_deferred(connection: Any) -> bool:
    """Return whether a connection is to SQLite, and its transactions take their locks late."""
    if connection.vendor != "sqlite":
        return False
    mode: str = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
    return mode.upper() == "DEFERRED"


@contextmanager
def exclusive(connection: Any) -> Iterator[None]:
    """Let the transaction that the block begins wait until there is no other, then exclude others.

    It waits as long as the site's ``timeout`` says (5 s); then its begin raises ``OperationalError``.
    Nothing changes within a transaction, and with other databases.
    """
    if connection.in_atomic_block or not is_deferred(connection):
        yield
        return
    connection.ensure_connection()
    begin, mode = connection._start_transaction_under_autocommit, connection.transaction_mode
    connection.transaction_mode = "EXCLUSIVE"
    connection._start_transaction_under_autocommit = lambda: _begin(connection, begin)
    try:
        yield
    finally:
        connection.transaction_mode = mode
        del connection._start_transaction_under_autocommit


def _begin(connection: Any, begin: Any) -> None:
    raw = connection.connection
    (milliseconds,) = raw.execute("PRAGMA busy_timeout").fetchone()
    deadline = monotonic() + milliseconds / 1000
    raw.execute("PRAGMA busy_timeout = 0")  # SQLite itself holds a lock while it waits
    try:
        while True:
            try:
                begin()
                return
            except OperationalError as error:
                if not outages.is_locked(error) or monotonic() >= deadline:
                    raise
            sleep(PAUSE_SECONDS * (0.5 + random.random()))  # noqa: S311
    finally:
        raw.execute(f"PRAGMA busy_timeout = {milliseconds}")
