"""When to reconnect, and how long to wait: the rules of PROTOCOL.md, "Close codes"."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from contextlib import suppress

from signalling.protocol import CloseCode

from .connection import ABNORMAL, websockets_package

RECONNECT_CODES = frozenset(
    {1001, ABNORMAL, 1012, CloseCode.HEARTBEAT}
    | {CloseCode.INTERNAL, CloseCode.UNAVAILABLE, CloseCode.TOO_SLOW}
)
"""Close codes after which a client may reconnect (PROTOCOL.md, "Close codes")."""
DELAYS = (1.0, 2.0, 4.0, 7.0)
"""Seconds before the second and later attempts, each ± 50 %; the last value repeats."""


def reconnect_delay(failures: int) -> float:
    """Return the seconds to wait before connecting, after ``failures`` failed attempts in a row.

    Returns 0 to 1 s for the first attempt, then 1, 2, 4, 7, 7 … s ± 50 %. The randomness spreads
    clients that were disconnected at the same time.
    """
    if failures == 0:
        return random.uniform(0, 1)  # noqa: S311
    return DELAYS[min(failures, len(DELAYS)) - 1] * random.uniform(0.5, 1.5)  # noqa: S311


class Backoff:
    """Waits between attempts, longer after each failure, until ``reset``."""

    def __init__(self, delays: Callable[[int], float] = reconnect_delay) -> None:
        self._delays = delays
        self._failures = 0
        self._woken = asyncio.Event()

    async def wait(self, at_least: float = 0.0) -> None:
        """Wait before the next attempt.

        ``wake`` ends the wait, but not before ``at_least`` seconds.
        """
        delay = self._delays(self._failures)
        self._failures += 1
        await asyncio.sleep(at_least)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, delay - at_least)):
                await self._woken.wait()
        self._woken.clear()

    def connection_lost(self) -> None:
        """Forget earlier calls of ``wake``.

        From here on it counts, even before ``wait`` is called.
        """
        self._woken.clear()

    def wake(self) -> None:
        """End the current wait, or the next one if none is in progress."""
        self._woken.set()

    def reset(self) -> None:
        """Start again from the shortest delay: an attempt succeeded."""
        self._failures = 0


def is_transient(error: Exception) -> bool:
    """Return whether another attempt to connect may succeed after this error.

    True for network errors, for a 5xx response and for a handshake that was cut off; False for any
    other response and for an invalid certificate.
    """
    websockets = websockets_package()
    if isinstance(error, websockets.InvalidStatus):
        return bool(error.response.status_code >= 500)
    if isinstance(error, ssl.SSLCertVerificationError):
        return False
    return isinstance(error, (OSError, websockets.InvalidMessage))
