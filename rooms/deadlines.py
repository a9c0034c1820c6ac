"""Give up waiting for a blocking call that cannot be given a timeout itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """A few threads that run calls, each for a caller that waits for a limited time.

    A call that never returns keeps its thread. When all threads are kept, further calls time out.
    Unlike those of ``ThreadPoolExecutor``, the threads do not keep the process from stopping.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._start_once = threading.Lock()
        self._has_started = False

    def run(self, function: Callable[[], T], seconds: float) -> T:
        """Return ``function()``. Raise what it raises, or ``TimeoutError`` after ``seconds``."""
        self._start()
        future: Future[T] = Future()
        self._calls.put((future, function))
        try:
            return future.result(seconds)
        finally:
            future.cancel()  # if no thread has begun it

    def _start(self) -> None:
        with self._start_once:
            if self._has_started:
                return
            self._has_started = True
            for number in range(self._threads):
                name = f"{self._name}-{number}"
                threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            future, function = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            del future, function  # until the next call they would keep their objects alive
