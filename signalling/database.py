"""Database calls from the event loop, run in threads.

``database_sync_to_async`` runs all calls of a process in one thread, so one slow statement delays
all others. With a database server, a small pool of threads runs them concurrently, each with its
own connection (from Django's pool if ``OPTIONS["pool"]`` is set). SQLite has a single writer:
there, one thread is the better queue.
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

DATABASE_UNAVAILABLE = (OperationalError, InterfaceError)
"""Exceptions that mean an outage of the database; any other is a bug."""


@cache  # creating the wrapper costs as much as calling it
def database_sync(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return an async version of ``function`` that runs in a thread of the pool.

    The result is cached: pass functions of modules, not lambdas or bound methods.
    """
    options: dict[str, Any] = {}
    if connection.vendor != "sqlite":
        options = {"thread_sensitive": False, "executor": _threads()}
    asynchronous: Callable[P, Coroutine[Any, Any, T]] = database_sync_to_async(function, **options)
    return asynchronous


@cache
def run_in_background_thread(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """``database_sync`` in a separate thread, which locked statements of sockets do not delay."""
    if connection.vendor == "sqlite":
        return database_sync(function)
    options: dict[str, Any] = {"thread_sensitive": False, "executor": _background_thread()}
    asynchronous: Callable[P, Coroutine[Any, Any, T]] = database_sync_to_async(function, **options)
    return asynchronous


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(conf().database_threads, thread_name_prefix="signalling-database")


@cache
def _background_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="signalling-background")
