"""The probe of the database: a connection of its own, which no pool and no slow call can delay."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

from django.db import connections

from rooms import primary
from rooms.deadlines import Workers
from rooms.outages import DatabaseUnavailable

CONNECT_SECONDS = 2
POOLED = 16
"""The most connections of a pool that are checked after an outage."""


class Probe:
    """Checks in a thread of its own that the database responds and accepts writes.

    PostgreSQL: the connection is kept, so that a server that has no free connections counts as
    available. It is made with the parameters of the site's connections, but outside of their pool.
    """

    def __init__(self, thread: Workers) -> None:
        self._thread = thread
        self._connection: Any = None

    async def run(self, *, thoroughly: bool) -> None:
        """Raise an exception if the database is unavailable.

        ``thoroughly``: check the connections of the pool as well, which an outage may have broken.
        """
        await asyncio.wrap_future(self._thread.submit(self._check, thoroughly))

    def interrupt(self) -> None:
        """End a probe that has not returned, by ending its connection."""
        sever(self._connection)

    def _check(self, thoroughly: bool) -> None:
        if _connection().vendor != "postgresql":
            _use_django(_connection())
            return
        try:
            self._require_writable()
        except Exception:  # the server was restarted, or is no longer the primary
            self._close()
            self._require_writable()
        if thoroughly:
            _check_pool()

    def _require_writable(self) -> None:
        if self._connection is None:
            wrapper = _connection()
            options = {"connect_timeout": CONNECT_SECONDS, **wrapper.get_connection_params()}
            self._connection = wrapper.Database.connect(**options)
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute("SHOW transaction_read_only")
            (is_read_only,) = cursor.fetchone()
        if is_read_only != "off":
            raise DatabaseUnavailable("the database is read-only")

    def _close(self) -> None:
        with suppress(Exception):
            self._connection.close()
        self._connection = None


def _connection() -> Any:
    return connections[primary.alias()]


def _check_pool() -> None:
    """Use a connection as calls do. Drop those that are still read-only."""
    for _ in range(POOLED):
        if _use_django(_connection(), "SHOW transaction_read_only") != "on":
            return
    raise DatabaseUnavailable("the connections are read-only")


def _use_django(used: Any, query: str = "SELECT 1") -> Any:
    try:
        with used.cursor() as cursor:
            cursor.execute(query)
            (value,) = cursor.fetchone()
            if value == "on":
                discard()
            return value
    finally:
        used.close()


def sever(used: Any) -> None:
    """End a connection that another thread waits for: its statement fails at once."""
    # Drivers have no function for this, and closing the descriptor would leave the thread waiting.
    with suppress(Exception), socket.socket(fileno=os.dup(used.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def discard() -> None:
    """Close this thread's connection for good, so that no pool keeps it."""
    for used in connections.all(initialized_only=True):
        if used.connection is not None and not used.in_atomic_block:
            with suppress(Exception):
                used.connection.close()
            used.close()
