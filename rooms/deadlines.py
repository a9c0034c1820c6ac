"""Threads that run blocking calls, for callers that give up waiting after some time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Call = tuple[Future[Any], Callable[[], Any]]


class Workers:
    """A few threads that run calls in the order in which they were submitted.

    A call that never returns keeps its thread. When all threads are kept, further calls wait.
    Unlike those of ``ThreadPoolExecutor``, the threads do not keep the process from stopping.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._lock = threading.Lock()
        self._has_started = False
        self._replaced: set[threading.Thread] = set()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Queue a call of ``function(*args)``, as ``concurrent.futures.Executor`` does."""
        self._start()
        future: Future[T] = Future()
        self._calls.put((future, lambda: function(*args)))
        return future

    def run(self, function: Callable[[], T], seconds: float) -> T:
        """Return ``function()``. Raise what it raises, or ``TimeoutError`` after ``seconds``."""
        future = self.submit(function)
        try:
            return future.result(seconds)
        finally:
            future.cancel()  # if no thread has begun it

    def replace(self, thread: threading.Thread) -> None:
        """Start another thread in place of one that a slow call keeps, which ends when it returns."""
        with self._lock:
            self._replaced.add(thread)
        self._start_thread()

    def _start(self) -> None:
        with self._lock:
            if self._has_started:
                return
            self._has_started = True
        for _ in range(self._threads):
            self._start_thread()

    def _start_thread(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while not self._was_replaced():
            future, function = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            del future, function  # until the next call they would keep their objects alive

    def _was_replaced(self) -> bool:
        thread = threading.current_thread()
        with self._lock:
            is_replaced = thread in self._replaced
            self._replaced.discard(thread)
        return is_replaced
