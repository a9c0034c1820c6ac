"""Locks in a site's database that block its workers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.processes import eventually
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL

ROOM_LOCK = "SELECT 1 FROM signalling_rooms_room WHERE code = %s FOR UPDATE"
PEER_LOCK = (
    "SELECT 1 FROM signalling_rooms_participant p JOIN signalling_rooms_room r ON r.id = p.room_id "
    "WHERE r.code = %s AND p.left_at IS NULL FOR UPDATE OF p"
)
USERS_LOCK = "LOCK TABLE auth_user IN ACCESS EXCLUSIVE MODE"
ALL_LOCK = (
    "LOCK TABLE auth_user, signalling_rooms_room, signalling_rooms_participant "
    "IN ACCESS EXCLUSIVE MODE"
)
WAITERS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Lock:
    """A lock in the site's PostgreSQL database that blocks one of its statements."""

    def __init__(self, postgresql: PostgreSQL, site: Site) -> None:
        self._holder = postgresql.connect(site.database.name)
        self._observer = postgresql.connect(site.database.name)

    @contextmanager
    def hold(self, statement: str, *parameters: str) -> Iterator[None]:
        with self._holder.transaction():
            self._holder.execute(statement.encode(), parameters or None)
            yield

    def wait_until_blocking(self) -> None:
        """Wait until a statement of another connection waits for the lock."""
        eventually(lambda: self._count() > 0, "a statement that waits for the lock")

    def take_without_waiting(self, statement: str, *parameters: str) -> None:
        """Try to take the lock again, without waiting. Raises ``LockNotAvailable``."""
        self._observer.execute(f"{statement} NOWAIT".encode(), parameters or None)

    def _count(self) -> int:
        row = self._observer.execute(WAITERS).fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        for connection in (self._holder, self._observer):
            connection.close()


class WriteLock:
    """The one write lock of the site's SQLite file."""

    def __init__(self, site: Site) -> None:
        self._holder = sqlite3.connect(site.database.name, isolation_level=None)

    @contextmanager
    def hold(self) -> Iterator[None]:
        self._holder.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._holder.execute("ROLLBACK")

    def close(self) -> None:
        self._holder.close()
