"""When a client in Python comes back, after how long, and as whom: the rules of PROTOCOL.md."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from contextlib import suppress

from signalling.protocol import CloseCode, ErrorCode

from .connection import ABNORMAL, Connection, Data, Refused, websockets_package

COMES_BACK = frozenset(
    {1001, ABNORMAL, 1012, CloseCode.HEARTBEAT}
    | {CloseCode.INTERNAL, CloseCode.UNAVAILABLE, CloseCode.TOO_SLOW}
)
"""Close codes after which a client may reconnect by itself (PROTOCOL.md, "Close codes")."""
DELAYS = (1.0, 2.0, 4.0, 7.0)
"""Seconds before the second attempt to reconnect and those after it, each ± 50 %; then the last again."""
JOINS_ANEW = frozenset({ErrorCode.RESUME_EXPIRED, ErrorCode.RESUME_INVALID})
JOINS_LATER = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED})


def backoff(failures: int) -> float:
    """Return the seconds to wait before an attempt to connect, after so many in a row that failed.

    0 to 1 s, then 1, 2, 4, 7, 7 … s ± 50 %: those who were cut off together do not come back together.
    """
    if failures == 0:
        return random.uniform(0, 1)  # noqa: S311
    return DELAYS[min(failures, len(DELAYS)) - 1] * random.uniform(0.5, 1.5)  # noqa: S311


class Pauses:
    """The waits between attempts: longer each time, until one has ``succeeded``."""

    def __init__(self, delays: Callable[[int], float] = backoff) -> None:
        self._delays = delays
        self._failures = 0
        self._woken = asyncio.Event()

    async def wait(self, at_least: float = 0.0) -> None:
        """Wait before the next attempt. ``wake`` ends that, but for what the server asked for."""
        delay = self._delays(self._failures)
        self._failures += 1
        await asyncio.sleep(at_least)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, delay - at_least)):
                await self._woken.wait()
        self._woken.clear()

    def begin(self) -> None:
        """A connection was lost: ``wake`` counts from here on, though nothing waits yet."""
        self._woken.clear()

    def wake(self) -> None:
        """End the wait that goes on, or is about to begin."""
        self._woken.set()

    def succeeded(self) -> None:
        """Begin anew with the shortest wait."""
        self._failures = 0


class Seat:
    """A seat in a room, perhaps: taken, taken again after a loss, given up."""

    def __init__(self, pauses: Pauses) -> None:
        self.room: Data | None = None
        """The last ``room:joined``."""
        self.resumes = 0
        self._pauses = pauses
        self._resume_token: str | None = None

    async def take(self, connection: Connection, room_code: str) -> Data:
        """Join a room and return ``room:joined``. Raises ``Refused`` and ``Unanswered``."""
        return await self._join(connection, room_code, None)

    async def retake(self, connection: Connection) -> None:
        """Resume, or join anew where that cannot be. Raises ``Refused`` and ``Unanswered``."""
        if self.room is not None:
            room_code = self.room["roomId"].removeprefix("room_")
            await self._join(connection, room_code, self._resume_token)

    def is_retaken(self, room: Data) -> bool:
        """Note a ``room:joined``; tell whether it is another one than ``take`` returns."""
        is_first = self.room is None
        self.room = room
        self.resumes += room.get("resumed", False)
        self._resume_token = room.get("resumeToken")
        return not is_first

    def give_up(self) -> None:
        self.room = self._resume_token = None

    async def _join(self, connection: Connection, room_code: str, resume_token: str | None) -> Data:
        while True:
            resume = {} if resume_token is None else {"resumeToken": resume_token}
            join = {"roomCode": room_code, "resumable": True, **resume}
            try:
                return await connection.request("join:room", join)
            except Refused as refusal:
                if resume_token is not None and refusal.code in JOINS_ANEW:
                    resume_token = None
                elif refusal.code in JOINS_LATER:
                    await self._pauses.wait(refusal.details.get("retryAfter", 0.0))
                else:
                    raise


def is_passing(error: Exception) -> bool:
    """Tell whether another attempt to connect may succeed: nobody was there, or a 5xx was."""
    websockets = websockets_package()
    if isinstance(error, websockets.InvalidStatus):
        return bool(error.response.status_code >= 500)
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    return isinstance(error, (OSError, websockets.InvalidMessage))
