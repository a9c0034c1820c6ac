"""The frames that a test client has received."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from signalling.client.connection import Data


class ReceivedFrames:
    """Received frames in order, and the close code once the connection has ended."""

    def __init__(self, name: str) -> None:
        self.close_code: int | None = None
        self.last_frame = ""
        self._name = name
        self._frames: list[tuple[Data, str]] = []
        self._changed = asyncio.Condition()

    @property
    def unread(self) -> list[Data]:
        return [frame for frame, _ in self._frames]

    def clear(self) -> None:
        self._frames.clear()

    async def add(self, frame: str) -> None:
        async with self._changed:
            self._frames.append((json.loads(frame), frame))
            self._changed.notify_all()

    async def close(self, code: int) -> None:
        async with self._changed:
            self.close_code = code
            self._changed.notify_all()

    async def pop(
        self,
        envelope: Mapping[str, Any],
        within: float,
        expected: str,
        data: Mapping[str, Any] | None = None,
    ) -> Data:
        """Wait for the first frame with these items, remove it and return it.

        ``expected`` describes the frame for the ``AssertionError``.
        """
        async with self._changed:
            await self._wait_for(
                lambda: self.close_code is not None or self._index(envelope, data) is not None,
                within,
                expected,
            )
            index = self._index(envelope, data)
            assert index is not None, f"{self._name}: closed with {self.close_code}, not {expected}"
            frame, self.last_frame = self._frames.pop(index)
            return frame

    async def wait_closed(self, within: float) -> int:
        """Wait for the end of the connection and return the close code."""
        async with self._changed:
            await self._wait_for(lambda: self.close_code is not None, within, "a close")
        assert self.close_code is not None
        return self.close_code

    def _index(self, envelope: Mapping[str, Any], data: Mapping[str, Any] | None) -> int | None:
        for index, (frame, _) in enumerate(self._frames):
            frame_data = frame.get("data", {})
            if envelope.items() <= frame.items() and (data or {}).items() <= frame_data.items():
                return index
        return None

    async def _wait_for(self, condition: Callable[[], bool], within: float, expected: str) -> None:
        try:
            # Not asyncio.wait_for: that of Python 3.11 may swallow a cancellation.
            async with asyncio.timeout(within):
                await self._changed.wait_for(condition)
        except TimeoutError:
            state = f"closed with {self.close_code}, unread: {self.unread}"
            raise AssertionError(
                f"{self._name}: {expected} did not arrive within {within} s; {state}"
            ) from None
