"""Database calls from the event loop, run in threads, none of which waits for long.

``database_sync_to_async`` runs all calls of a process in one thread, so one slow statement delays
all others. With a database server, a small pool of threads runs them concurrently, each with its
own connection (from Django's pool if ``OPTIONS["pool"]`` is set). SQLite has a single writer:
there, one thread is the better queue.

Each call has a deadline, and of each room at most one call runs at a time: see ``calls``. While the
database is known to be unavailable, calls fail at once: see ``breaker``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connections

from rooms import outages, primary
from rooms.deadlines import Workers
from rooms.outages import DatabaseUnavailable, RowLocked
from signalling.conf import conf
from signalling.transport.loops import PerLoop

from .breaker import Breaker
from .calls import Calls
from .probe import Probe
from .surroundings import NONE, Surroundings, current

__all__ = [
    "DATABASE_UNAVAILABLE",
    "DatabaseUnavailable",
    "RowLocked",
    "Surroundings",
    "current",
    "database_sync",
    "is_available",
    "run_in_background_thread",
    "surrounded",
]

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_UNAVAILABLE = (OperationalError, InterfaceError)
"""Exceptions of a call that cannot be made now; any other is a bug.

They are ``DatabaseUnavailable``, also if the database is read-only, and ``RowLocked``, which is no
outage. Within the threads errors have other classes: use ``rooms.outages``.
"""
DEADLINE = 2.0
"""Seconds from the start of a call until its caller gets ``DatabaseUnavailable``."""
BACKGROUND_DEADLINE = 10.0
"""The same for work on many rows, for which no client waits."""


def database_sync(
    function: Callable[P, T],
    *,
    room: str | None = None,
    surroundings: Surroundings | None = None,
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return an async version of ``function``, for a socket, that runs in a thread of the pool.

    ``room``: the code of the room whose rows it may lock or wait for. ``surroundings``: those of the
    socket; by default those of the running task. Raises ``DATABASE_UNAVAILABLE``.
    """
    inside = surrounded(function, surroundings or current())

    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return _databases.get().calls.run(inside, args, kwargs, room)

    return call


def run_in_background_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """``database_sync`` for the worker: a separate thread, which sockets do not delay."""

    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return _databases.get().background.run(function, args, kwargs)

    return call


def surrounded(function: Callable[P, T], surroundings: Surroundings) -> Callable[P, T]:
    """Return ``function`` as a call of the socket that has these surroundings."""
    if surroundings is NONE:
        return function

    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with surroundings():
            return function(*args, **kwargs)

    return inside


async def is_available() -> bool:
    """Return whether the database responds now and accepts writes."""
    return await _databases.get().breaker.check()


class _Database:
    """The calls of one event loop."""

    def __init__(self) -> None:
        is_server = connections[primary.alias()].vendor != "sqlite"
        self.breaker = Breaker(_probe(), on_open=self._fail, may_open=is_server)
        self.calls = Calls(_threads() if is_server else None, self.breaker, DEADLINE)
        self.background = Calls(
            _background_thread() if is_server else None, self.breaker, BACKGROUND_DEADLINE
        )

    def _fail(self) -> None:
        """Fail the calls that run and wait: an outage has begun."""
        self.calls.fail_all()
        self.background.fail_all()


_databases = PerLoop(_Database)


@cache
def _threads() -> Workers:
    return Workers(conf().database_threads, "signalling-database")


@cache
def _background_thread() -> Workers:
    return Workers(1, "signalling-background")


@cache
def _probe() -> Probe:
    return Probe(Workers(1, "signalling-probe"))


def _is_known_unavailable() -> bool:
    return any(database.breaker.is_open for database in _databases.of_open_loops())


outages.monitors.append(_is_known_unavailable)
