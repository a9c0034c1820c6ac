"""Run password hashers where they do not slow down calls.

A password hash takes a processor for some tenths of a second. Under ASGI each request has a thread
of its own, so a flood of sign-ins would keep all processors busy and delay the thread of the event
loop, which relays. Here at most half of the processors hash at the same time, in threads with a lower
priority, and a bounded number of sign-ins wait for their turn.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS = max(1, (os.cpu_count() or 1) // 2)
WAITING = 32
"""Sign-ins that may wait for a thread, or have one. Hashes take about 0.3 s."""
NICENESS = 10
HOLD_SECONDS = 0.3
HELD = 16
"""Refused sign-ins that may be held at the same time."""

_places = threading.BoundedSemaphore(WAITING)
_held = threading.BoundedSemaphore(HELD)
_turns = threading.BoundedSemaphore(THREADS)


class TooManySignIns(Exception):
    """``WAITING`` sign-ins are in progress."""


@contextmanager
def turn() -> Iterator[None]:
    """Wait until this sign-in may hash. Raise ``TooManySignIns`` at once if too many wait."""
    if not _places.acquire(blocking=False):
        raise TooManySignIns
    try:
        with _turns:
            yield
    finally:
        _places.release()


def hold() -> None:
    """Let a refusal take as long as a hash, for a bounded number of clients.

    A client that waits for each response would otherwise repeat its request at once, and requests
    take turns with the event loop.
    """
    if _held.acquire(blocking=False):
        try:
            time.sleep(HOLD_SECONDS)
        finally:
            _held.release()


def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a function that hashes. It runs in a thread: do not use the database."""
    return _threads().submit(function, *args, **kwargs).result()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "signalling-passwords", initializer=_lower_priority)


def _lower_priority() -> None:
    if sys.platform == "linux":  # where each thread has a priority of its own: setpriority(2)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
