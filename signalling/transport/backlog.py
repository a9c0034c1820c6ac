"""The events that wait for one client."""

from __future__ import annotations

from collections import deque
from typing import Any

from .shares import Shares

Event = dict[str, Any]


class Overflow(Exception):
    """Too much waits for the client, which reads too slowly."""


class Backlog:
    """A queue with two bounds of the same size: one for relays, one for the server's own events.

    The senders of relays share their part (``Shares``), so they can neither fill it alone nor crowd
    out announcements and replies. Without a sender, an event is one of the server's own.
    """

    __slots__ = ("_events", "_free_bytes", "_free_frames", "_shares")

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._events: deque[tuple[Event, str | None, int]] = deque()
        self._shares = Shares(max_frames, max_bytes)
        self._free_frames = max_frames
        self._free_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: Event, sender: str | None) -> None:
        """Append an event. Raises ``ShareExceeded`` for a relay, else ``Overflow``."""
        size = _size(event)
        if sender is not None:
            self._shares.take(sender, size)
        elif not self._free_frames or size > self._free_bytes:
            raise Overflow
        self.add_last(event, sender, size)

    def add_last(self, event: Event, sender: str | None = None, size: int = 0) -> None:
        """Append an event, whatever waits already: the last ones before the end."""
        if sender is None:
            self._free_frames -= 1
            self._free_bytes -= size
        self._events.append((event, sender, size))

    def pop(self) -> Event:
        """Remove and return the first event."""
        event, sender, size = self._events.popleft()
        if sender is not None:
            self._shares.give_back(sender, size)
        else:
            self._free_frames += 1
            self._free_bytes += size
        return event


def _size(event: Event) -> int:
    return len(event.get("text") or event.get("bytes") or "")
