"""Time on a machine whose processors are busy with something else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import NamedTuple


class Moment(NamedTuple):
    """A point in time. ``time`` is in seconds, ``waited`` in nanoseconds by thread."""

    time: float
    waited: dict[str, int]


class Clock:
    """The time, without the time that this process and another one have waited for a processor.

    Linux counts that for each thread (``/proc/PID/task/TID/schedstat``). It counts for the two that
    run the event loops, and for the thread of the other process that waited longest: it may have held
    the interpreter lock. So the load of a busy machine does not count.
    """

    def __init__(self, other: int) -> None:
        self._own = Path("/proc/self/schedstat")
        self._threads = Path(f"/proc/{other}/task")
        self._main = str(other)

    def now(self) -> Moment:
        waited = {}
        with suppress(OSError):  # the process has ended
            for thread in os.listdir(self._threads):
                with suppress(OSError):  # the thread has ended
                    waited[thread] = _waited((self._threads / thread / "schedstat").read_bytes())
        loops = _waited(self._own.read_bytes()) + waited.pop(self._main, 0)
        return Moment(perf_counter() - loops / 1e9, waited)

    def since(self, moment: Moment) -> float:
        """Return the seconds since a moment."""
        now = self.now()
        waits = [time - moment.waited.get(thread, 0) for thread, time in now.waited.items()]
        return now.time - moment.time - max(waits, default=0) / 1e9


def _waited(statistics: bytes) -> int:
    """Return how long a thread has waited for a processor, in nanoseconds."""
    return int(statistics.split()[1])
