"""The numbers of the batches that arrive: what is missing, late, or cannot be right."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

FAR_AHEAD = 1_000_000
"""More batches than a process publishes to one target while Redis is unavailable."""
RESYNC_SECONDS = 3.0
"""Longer than the time between two heartbeats: a process that is in step sends one before."""
MAX_STREAMS = 10_000

StreamId = tuple[str, str]
"""The source and the target of a stream of batches."""


class Range(NamedTuple):
    """The numbers ``first`` to ``last``, both included."""

    first: int
    last: int


NOTHING = Range(0, -1)


@dataclass(slots=True)
class _Stream:
    last: int
    """The number of the last batch that was accepted."""
    run_first: int = 0
    run_next: int | None = None
    """An uninterrupted run of implausible numbers, and the number that would continue it."""
    run_since: float = 0.0


class BatchNumbers:
    """Follows the numbers of each stream. They increase by one from batch to batch.

    A number that is not above the last one is late. A number that is far above it cannot be right.
    Neither is accepted, but if a stream goes on like this for ``RESYNC_SECONDS``, then the last
    number was wrong. So no single number can silence a process.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[StreamId, _Stream] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def last(self, stream: StreamId) -> int | None:
        """Return the number of the last batch that was accepted, ``None`` for a new stream."""
        state = self._streams.get(stream)
        return state.last if state is not None else None

    def begin(self, stream: StreamId, last: int) -> None:
        """Expect the number after ``last`` in a stream that is not known yet."""
        self._streams[stream] = _Stream(last)
        if len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)

    def accept(self, stream: StreamId, number: int, now: float) -> Range | None:
        """Accept the next batch of a known stream; return the missing numbers, which may be empty.

        Return ``None`` if the batch must be dropped. ``now`` is monotonic, in seconds.
        """
        state = self._streams[stream]
        self._streams.move_to_end(stream)
        first = state.last + 1
        if number == first:
            state.last, state.run_next = number, None
            return NOTHING
        if not 0 <= number - first < FAR_AHEAD:
            if number != state.run_next:
                state.run_first, state.run_since = number, now
            state.run_next = number + 1
            if now - state.run_since < RESYNC_SECONDS:
                return None
            if number <= state.last:
                first = state.run_first
        state.last, state.run_next = number, None
        return Range(first, number - 1)
