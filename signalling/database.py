"""Database calls of sockets: off the event loop, and beside each other where the database allows it.

``database_sync_to_async`` sends every call of a process through one thread, so one slow statement makes
all others wait. A server database takes several at once: there a small pool of threads runs them, each
with a connection of its own (with ``OPTIONS["pool"]``, out of Django's pool). SQLite has one writer, and
a queue of one thread is the kinder way to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import InterfaceError, OperationalError, connection

from .conf import conf

P = ParamSpec("P")
T = TypeVar("T")

DATABASE_UNAVAILABLE = (
    OperationalError,
    InterfaceError,
)  # other errors are bugs


@cache  # making the wrapper costs as much as calling it
def database_sync(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return ``function``, one that a module or a setting names, to be awaited and run in a thread."""
    options: dict[str, Any] = {}
    if connection.vendor != "sqlite":
        options = {"thread_sensitive": False, "executor": _threads()}
    asynchronous: Callable[P, Coroutine[Any, Any, T]] = database_sync_to_async(function, **options)
    return asynchronous


@cache
def run_in_background_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """``database_sync`` for what must not wait for a socket's statement that waits for a lock."""
    if connection.vendor == "sqlite":
        return database_sync(function)
    options: dict[str, Any] = {"thread_sensitive": False, "executor": _thread_beside()}
    asynchronous: Callable[P, Coroutine[Any, Any, T]] = database_sync_to_async(function, **options)
    return asynchronous


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(conf().database_threads, thread_name_prefix="signalling-database")


@cache
def _thread_beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="signalling-presence")
