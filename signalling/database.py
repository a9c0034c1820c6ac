"""Database calls of sockets: off the event loop, and beside each other where the database allows it.

``database_sync_to_async`` sends every call of a process through one thread, so one slow statement makes
all others wait. A server database takes several at once: there a small pool of threads runs them, each
with a connection of its own (with ``OPTIONS["pool"]``, out of Django's pool). SQLite has one writer, and
a queue of one thread is the kinder way to wait for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import InterfaceError, OperationalError, connection

from .conf import conf

P = ParamSpec("P")
T = TypeVar("T")

AWAY = (OperationalError, InterfaceError)  # the other errors of a database are faults of ours


@cache  # making the wrapper costs as much as calling it
def in_database(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Return ``function``, one that a module or a setting names, to be awaited and run in a thread."""
    options: dict[str, Any] = {}
    if connection.vendor != "sqlite":
        options = {"thread_sensitive": False, "executor": _threads()}
    asynchronous: Callable[P, Awaitable[T]] = database_sync_to_async(function, **options)
    return asynchronous


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(conf().database_threads, thread_name_prefix="signalling-database")
