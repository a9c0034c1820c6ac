"""Threads that run blocking calls, for callers that give up waiting after some time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

Call = tuple[Future[Any], Callable[[], Any]]


class Lanes:
    """Queues of calls that take turns: a long one delays each call of another by one call."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, OrderedDict[Future[Any], Callable[[], Any]]] = OrderedDict()
        """In the order of their turns; none is empty."""
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Return the number of calls that wait."""
        with self._changed:
            return sum(map(len, self._lanes.values()))

    def put(self, lane: str, call: Call) -> None:
        """Add a call to a lane."""
        future, function = call
        with self._changed:
            self._lanes.setdefault(lane, OrderedDict())[future] = function
            self._changed.notify()

    def get(self) -> Call:
        """Return the next call. Blocking."""
        with self._changed:
            while not self._lanes:
                self._changed.wait()
            lane, calls = next(iter(self._lanes.items()))
            call = calls.popitem(last=False)
            if calls:
                self._lanes.move_to_end(lane)
            else:
                del self._lanes[lane]
        return call

    def drop(self, lane: str, future: Future[Any]) -> None:
        """Remove the call with this future, if it still waits."""
        with self._changed:
            calls = self._lanes.get(lane)
            if calls and calls.pop(future, None) and not calls:
                del self._lanes[lane]


class Waiting(Future[T]):
    """The outcome of a call, which no longer waits in its lane once it is cancelled."""

    def __init__(self, lanes: Lanes, lane: str) -> None:
        super().__init__()
        self._lanes = lanes
        self._lane = lane

    def cancel(self) -> bool:
        is_cancelled = super().cancel()
        if is_cancelled:  # the threads may be kept for long, and callers come and go
            self._lanes.drop(self._lane, self)
        return is_cancelled


class Lane:
    """Submits calls to one lane of ``Workers``."""

    def __init__(self, submit: Callable[..., Future[Any]], name: str) -> None:
        self._submit = submit
        self._name = name

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Queue a call of ``function(*args)``, as ``concurrent.futures.Executor`` does."""
        return self._submit(self._name, function, args)


class Workers:
    """A few threads that run calls in the order in which they were submitted to a lane.

    A call that never returns keeps its thread. When all threads are kept, further calls wait.
    Unlike those of ``ThreadPoolExecutor``, the threads do not keep the process from stopping.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._name = name
        self._calls = Lanes()
        self._lock = threading.Lock()
        self._has_started = False
        self._replaced: set[threading.Thread] = set()

    def submit(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Queue a call of ``function(*args)``, as ``concurrent.futures.Executor`` does."""
        return self._submit("", function, args)

    def lane(self, name: str) -> Lane:
        """Return an executor whose calls take turns with those of other lanes."""
        return Lane(self._submit, name)

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

    def _submit(self, lane: str, function: Callable[..., T], args: tuple[Any, ...]) -> Future[T]:
        self._start()
        future: Future[T] = Waiting(self._calls, lane)
        self._calls.put(lane, (future, lambda: function(*args)))
        return future

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
