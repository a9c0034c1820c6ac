"""Time-outs of PostgreSQL for the calls of this app, unless the site has set its own.

They are set for each connection that one of the app's threads opens. A connection from Django's pool
gets its former values back, because views of the site use it too. Sites that set both in
``OPTIONS["options"]`` save these two statements.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error, connections
from django.db.backends.signals import connection_created

from rooms import primary

STATEMENT_TIMEOUT = 2000
"""Milliseconds."""
LOCK_TIMEOUT = 500
"""Milliseconds. A call that waits for a lock gives its thread back, and tries again later."""

_thread = threading.local()


@contextmanager
def limited() -> Iterator[None]:
    """Set the time-outs of the connections that this thread opens in the block."""
    _thread.is_limited = True
    try:
        yield
    finally:
        _thread.is_limited = False
        _restore()


def _missing(options: dict[str, Any]) -> dict[str, int]:
    """Return the time-outs that the site has not set in ``OPTIONS``."""
    wanted = {"statement_timeout": STATEMENT_TIMEOUT, "lock_timeout": LOCK_TIMEOUT}
    given = str(options.get("options", "")) + str(options.get("service", ""))
    return {name: value for name, value in wanted.items() if name not in given}


def _limit(*, connection: Any, **kwargs: Any) -> None:
    """Set the time-outs of a new connection that the role or the database leaves at 0."""
    settings = connection.settings_dict
    if (
        not getattr(_thread, "is_limited", False)
        or connection.vendor != "postgresql"
        or connection.alias != primary.alias()
        # Behind PgBouncer in transaction mode, others would get what is set here.
        or settings.get("DISABLE_SERVER_SIDE_CURSORS")
    ):
        return
    missing = _missing(settings["OPTIONS"])
    if not missing:
        return
    calls = ", ".join(
        f"CASE WHEN current_setting('{name}') = '0' THEN set_config('{name}', '{value}', false) END"
        for name, value in missing.items()
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {calls}")
    _thread.changed = missing if settings["OPTIONS"].get("pool") else None


def _restore() -> None:
    changed, _thread.changed = getattr(_thread, "changed", None), None
    connection = connections[primary.alias()]
    if changed and connection.connection is not None and not connection.in_atomic_block:
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("; ".join(f"RESET {name}" for name in changed))


connection_created.connect(_limit, dispatch_uid="signalling.database.timeouts")
