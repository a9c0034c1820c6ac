"""Deadlines and turns of database calls, so that a slow call delays no other room.

- Of each room, one call runs at a time, and the others wait on the event loop, not in threads.
- Calls for rooms and others take turns for the threads. So many leaves at once delay no handshake.
- A call that waits for a lock gives its thread back after the time-out of the lock. It is made
  again, after calls of other rooms, until its deadline.
- When a call has taken too long, its caller gets ``DatabaseUnavailable``, and so do the calls that
  wait behind it. The thread may still be busy; another one takes its place.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from time import monotonic
from typing import Any, TypeVar

from channels.db import database_sync_to_async
from django.db import connections

from rooms import outages, primary
from rooms.deadlines import Workers
from rooms.outages import DatabaseUnavailable, RowLocked

from . import timeouts
from .breaker import Breaker
from .probe import discard, sever

T = TypeVar("T")

TICK = 0.1
"""Seconds between two checks of the deadlines, while there are calls."""
SUSPECT_SECONDS = 0.5
"""A call that takes longer lets the database be probed, and a further thread be started."""
SPARE_THREADS = 2
"""The most threads of this kind."""
ATTEMPT_SECONDS = 0.5
"""A call that was stopped by a lock is repeated if this much time is left."""
PAUSE_SECONDS = 0.1


class Line:
    """The calls of one room, of which one has its turn."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.calls = 0
        self.moved_at = float("-inf")


class Call:
    """One call, from its submission until its thread has ended it."""

    def __init__(self, function: Callable[[], Any], line: Line | None, submitted: float) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        """What the caller gets. Done before the thread is, if the caller does not wait for it."""
        self.line = line
        self.submitted = submitted
        self.has_turn = False
        self.begun: float | None = None
        """When a thread first began it."""
        self.thread: threading.Thread | None = None
        self.was_replaced = False
        self._function = function
        self._connection: Any = None
        self._lock = threading.Lock()

    def fail(self, error: Exception) -> None:
        """Let the caller go on. What the thread does from now on in the database has no effect."""
        if self.outcome.done():
            return
        self.outcome.set_exception(error)
        with self._lock:
            if self._connection is not None:
                sever(self._connection.connection)

    def perform(self, now: float) -> Any:
        """Call the function, in a thread."""
        if self.outcome.done():  # no one waits for it any more
            return None
        self.begun = now if self.begun is None else self.begun
        self.thread, self._connection = threading.current_thread(), connections[primary.alias()]
        try:
            wrapper = self._connection.execute_wrapper(self._execute)
            with timeouts.limited(), wrapper, primary.reads():
                return self._function()
        except Exception as error:
            if outages.is_read_only(error):
                discard()
            raise
        finally:
            with self._lock:
                self.thread = self._connection = None
            if self.outcome.done():  # the connection may have been severed
                discard()

    def _execute(self, execute: Callable[..., Any], *args: Any) -> Any:
        if self.outcome.done():
            raise DatabaseUnavailable("the caller has given up")
        return execute(*args)


class Calls:
    """Runs calls in ``threads``, or without these in the one thread of ``database_sync_to_async``."""

    def __init__(self, threads: Workers | None, breaker: Breaker, deadline: float) -> None:
        self._perform_for_room = self._performer(threads, "rooms")
        self._perform_other = self._performer(threads, "others")
        self._threads = threads
        self._breaker = breaker
        self._deadline = deadline
        self._lines: defaultdict[str, Line] = defaultdict(Line)
        self._calls: dict[Call, asyncio.Task[None]] = {}
        self._replaced = 0
        self._now = 0.0
        """A clock that stands still while this process is suspended."""
        self._moved_at = 0.0
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self,
        function: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        room: str | None = None,
    ) -> T:
        """Return ``function(*args, **kwargs)``, called in a thread.

        Raise ``DatabaseUnavailable`` after the deadline, which begins with the call, or when the
        calls before it no longer end. A call that was not begun by then is not made.
        """
        if self._breaker.is_open:
            raise DatabaseUnavailable("the database is known to be unavailable")
        line = None if room is None else self._lines[room]
        call = Call(lambda: function(*args, **kwargs), line, self._now)
        task = asyncio.create_task(self._process(call))
        self._calls[call] = task
        call.outcome.add_done_callback(lambda _: None if call.has_turn else task.cancel())
        task.add_done_callback(lambda _: self._remove(call, room))
        if line is not None:
            line.calls += 1
        if self._timer is None:
            self._ticked_at = monotonic()
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        result: T = await call.outcome
        return result

    def fail_all(self) -> None:
        """Fail all calls: an outage has begun."""
        for call in tuple(self._calls):
            call.fail(DatabaseUnavailable("the database has become unavailable"))

    # --- One call -----------------------------------------------------------------------------

    async def _process(self, call: Call) -> None:
        turn: AbstractAsyncContextManager[Any] = call.line.turn if call.line else nullcontext()
        async with turn:
            call.has_turn = True
            while not call.outcome.done():
                try:
                    perform = self._perform_for_room if call.line else self._perform_other
                    result = await perform(call)
                except Exception as error:
                    if not call.outcome.done() and not await self._may_repeat(call, error):
                        self._failed(call, error)
                else:
                    self._moved(call)
                    if not call.outcome.done():
                        call.outcome.set_result(result)

    def _performer(self, threads: Workers | None, lane: str) -> Any:
        if threads is None:
            return database_sync_to_async(self._run_in_thread)
        executor: Any = threads.lane(lane)
        return database_sync_to_async(
            self._run_in_thread, thread_sensitive=False, executor=executor
        )

    def _run_in_thread(self, call: Call) -> Any:
        return call.perform(self._now)

    async def _may_repeat(self, call: Call, error: Exception) -> bool:
        """Wait a moment and return true, if the call failed because of a lock and has time left."""
        self._moved_at = self._now
        if call.begun is None:  # the thread could not close an old connection
            return False
        left = call.begun + self._deadline - self._now
        if call.line is None or not outages.is_locked(error) or left < ATTEMPT_SECONDS:
            return False
        await asyncio.sleep(PAUSE_SECONDS)
        return True

    def _failed(self, call: Call, error: Exception) -> None:
        failure: Exception
        if outages.is_locked(error):
            failure = RowLocked(str(error))
            self._fail_line(call, "another transaction holds a lock")
        elif outages.is_outage(error):
            failure = DatabaseUnavailable(str(error))
            self._breaker.suspect(at_once=True)
        else:
            self._moved(call)
            call.fail(error)
            return
        failure.__cause__ = error
        call.fail(failure)

    def _moved(self, call: Call) -> None:
        self._moved_at = self._now
        if call.line is not None:
            call.line.moved_at = self._now

    def _fail_line(self, first: Call, reason: str) -> None:
        """Fail the calls that wait for the turn of ``first``."""
        for call in self._calls:
            if first.line is not None and call.line is first.line and not call.has_turn:
                call.fail(RowLocked(reason))

    def _remove(self, call: Call, room: str | None) -> None:
        del self._calls[call]
        if call.was_replaced:
            self._replaced -= 1
        if room is not None and call.line is not None:
            call.line.calls -= 1
            if not call.line.calls:
                del self._lines[room]

    # --- Deadlines ----------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        now = monotonic()
        self._now += min(now - self._ticked_at, 2 * TICK)
        self._ticked_at = now
        for call in tuple(self._calls):
            self._check(call)
        if self._calls:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _check(self, call: Call) -> None:
        waited = self._now - self._waiting_since(call)
        if waited <= SUSPECT_SECONDS:
            return
        self._replace_thread(call)
        if call.outcome.done():
            return
        self._breaker.suspect()
        if waited <= self._deadline:
            return
        if call.has_turn:
            call.fail(DatabaseUnavailable(f"no answer within {self._deadline:g} s"))
        self._fail_line(call, "an earlier call for this room has not returned")

    def _waiting_since(self, call: Call) -> float:
        """Return when the call began, or when the queue in which it waits last moved."""
        if call.begun is not None:
            return call.begun
        if call.has_turn or call.line is None:
            return max(call.submitted, self._moved_at)
        return max(call.submitted, call.line.moved_at)

    def _replace_thread(self, call: Call) -> None:
        thread = call.thread
        if (
            self._threads is not None
            and thread is not None
            and not call.was_replaced
            and self._replaced < SPARE_THREADS
        ):
            call.was_replaced = True
            self._replaced += 1
            self._threads.replace(thread)
