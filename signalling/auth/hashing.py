"""Run password hashers where they do not slow down calls.

A password hash takes a processor for some tenths of a second. Under ASGI each request has a thread
of its own, so a flood of sign-ins would keep all processors busy and delay the thread of the event
loop, which relays. Here at most half of the processors hash at the same time for one process, in
threads with a lower priority. Sign-ins wait for them in a bounded queue that serves the addresses in
turn, so a flood from one address delays sign-ins from others by one hash each time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")


def processors() -> int:
    """Return the number of processors that this process may use, as its container limits them."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


THREADS = max(1, processors() // 2)
"""Hashes that one process computes at the same time."""
WAITING = 512
"""Sign-ins of one process that may wait for a thread. A hash takes about 0.3 s."""
WAITING_PER_ADDRESS = 64
"""The same for one address: a school may sign in at the same minute."""
NICENESS = 10
REFUSAL_SECONDS = 0.3
DELAYED_REFUSALS = 16
"""Refusals of one process that may be delayed at the same time."""


class TooManySignIns(Exception):
    """``WAITING`` sign-ins wait, or ``WAITING_PER_ADDRESS`` of this address."""


class FairQueue:
    """A semaphore whose waiting threads are served by their keys in turn.

    When ``waiting`` threads wait, a new one takes the place of the last one of the key that has most.
    """

    def __init__(self, slots: int, waiting: int, waiting_per_key: int) -> None:
        self._free = slots
        self._waiting = waiting
        self._waiting_per_key = waiting_per_key
        self._lock = threading.Lock()
        self._queues: OrderedDict[str, deque[Future[None]]] = OrderedDict()
        self._count = 0

    @contextmanager
    def slot(self, key: str) -> Iterator[None]:
        """Wait for a slot, and hold it in the block. Raise ``TooManySignIns``.

        A thread that has to wait gives its database connections back first.
        """
        ticket = self._enter(key)
        if not ticket.done():
            _release_connections()
        ticket.result()
        try:
            yield
        finally:
            self._leave()

    def _enter(self, key: str) -> Future[None]:
        ticket: Future[None] = Future()
        with self._lock:
            if self._free:
                self._free -= 1
                ticket.set_result(None)
                return ticket
            before = len(self._queues.get(key, ()))
            if before >= self._waiting_per_key:
                raise TooManySignIns
            if self._count >= self._waiting:
                self._displace(before)
            self._queues.setdefault(key, deque()).append(ticket)
            self._count += 1
        return ticket

    def _displace(self, count: int) -> None:
        """Refuse the last thread of the longest queue, for a key that has ``count`` waiting."""
        longest = max(self._queues.values(), key=len)
        if len(longest) <= count + 1:
            raise TooManySignIns
        longest.pop().set_exception(TooManySignIns())
        self._count -= 1

    def _leave(self) -> None:
        with self._lock:
            if not self._queues:
                self._free += 1
                return
            key, queue = self._queues.popitem(last=False)
            queue.popleft().set_result(None)
            self._count -= 1
            if queue:
                self._queues[key] = queue  # behind the others


_queue = FairQueue(THREADS, WAITING, WAITING_PER_ADDRESS)
_delayed = threading.BoundedSemaphore(DELAYED_REFUSALS)
_last_seconds = REFUSAL_SECONDS


@contextmanager
def slot(address: str) -> Iterator[None]:
    """Wait until a sign-in from this address may hash. Raise ``TooManySignIns`` if too many wait."""
    with _queue.slot(address):
        yield


def delay_refusal() -> None:
    """Let a refusal take as long as a hash, for a bounded number of clients.

    A client that waits for each response would otherwise repeat its request at once, and requests
    take turns with the event loop.
    """
    if _delayed.acquire(blocking=False):
        try:
            time.sleep(REFUSAL_SECONDS)
        finally:
            _delayed.release()


def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a function that hashes. It runs in a thread: do not use the database."""
    global _last_seconds
    started = time.monotonic()
    result = _threads().submit(function, *args, **kwargs).result()
    _last_seconds = time.monotonic() - started
    return result


def pretend() -> None:
    """Take as long as the last hash did, without the processor."""
    time.sleep(_last_seconds)


def _release_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "signalling-passwords", initializer=_lower_priority)


def _lower_priority() -> None:
    if sys.platform == "linux":  # where each thread has a priority of its own: setpriority(2)
        thread = threading.get_native_id()
        before = os.getpriority(os.PRIO_PROCESS, thread)  # only root may raise a priority again
        os.setpriority(os.PRIO_PROCESS, thread, max(before, NICENESS))
