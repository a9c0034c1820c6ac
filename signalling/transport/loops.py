"""Objects that belong to one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One object for each event loop: tests, and ``async_to_sync``, run several in a process."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._objects: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()

    def get(self) -> T:
        """Return the object of the running event loop, which is made at the first call."""
        loop = asyncio.get_running_loop()
        try:
            return self._objects[loop]
        except KeyError:
            made = self._objects[loop] = self._make()
            return made

    def of_open_loops(self) -> list[T]:
        """Return the objects of all event loops that are not closed."""
        return [each for loop, each in tuple(self._objects.items()) if not loop.is_closed()]

    def clear(self) -> None:
        """Make all objects again when they are next asked for."""
        self._objects.clear()
