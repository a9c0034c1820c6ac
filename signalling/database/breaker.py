"""Whether the database is available: one probe decides, not the calls that fail.

A failed or slow call only raises a suspicion: its connection may be the only one that broke, its row
may be locked, or a hook of the site may be slow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from rooms.outages import DatabaseUnavailable

logger = logging.getLogger("signalling")

PROBE_SECONDS = 1.0
"""How long a probe may take, how old its result may be, and the pause before the next one."""
LATE_SECONDS = 0.5
"""A result is not counted if the event loop noticed the end of the probe so late."""


class Prober(Protocol):
    """See ``probe.Probe``."""

    async def run(self, *, thoroughly: bool) -> None: ...

    def interrupt(self) -> None: ...


class Breaker:
    """Opens when a probe finds the database unavailable: calls fail at once until one succeeds.

    ``on_open`` is called when an outage begins. Without ``may_open`` there is only ``check``.
    """

    def __init__(
        self, probe: Prober, *, on_open: Callable[[], None], may_open: bool = True
    ) -> None:
        self.is_open = False
        self._probe = probe
        self._on_open = on_open
        self._may_open = may_open
        self._is_healthy = True
        self._probed_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._result: asyncio.Future[None] | None = None

    def suspect(self, *, at_once: bool = False) -> None:
        """Probe the database until it is available, because a call is slow.

        ``at_once``: it has failed, so the result of a recent probe does not count.
        """
        if self._may_open and (at_once or self._is_stale()):
            self._start()

    async def check(self) -> bool:
        """Return whether the database is available, from a probe that is at most a moment old."""
        if self._is_stale():
            self._start()
        if self._result is not None:
            await asyncio.wait([self._result])
        return self._is_healthy

    def _is_stale(self) -> bool:
        return monotonic() - self._probed_at >= PROBE_SECONDS

    def _start(self) -> None:
        if self._task is not None:
            return
        loop = asyncio.get_running_loop()
        self._result = loop.create_future()
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._conclude()

    def _conclude(self) -> None:
        """Let ``check`` return."""
        if self._result is not None:
            self._result.cancel()
            self._result = None

    async def _run(self) -> None:
        while not await self._is_available():
            self._conclude()
            if not self._may_open:
                return
            await asyncio.sleep(PROBE_SECONDS)
        self._close()

    async def _is_available(self) -> bool:
        begun = monotonic()
        failure: Exception
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probe.run(thoroughly=self.is_open)
        except TimeoutError:
            self._probe.interrupt()
            if monotonic() - begun > PROBE_SECONDS + LATE_SECONDS:  # this process was suspended
                return await self._is_available()
            failure = DatabaseUnavailable(f"no answer within {PROBE_SECONDS:g} s")
        except Exception as error:
            failure = error
        else:
            self._is_healthy = True
            self._probed_at = monotonic()
            return True
        self._is_healthy = False
        self._probed_at = monotonic()
        self._open(failure)
        return False

    def _open(self, failure: Exception) -> None:
        if self.is_open or not self._may_open:
            return
        self.is_open = True
        logger.warning("Database unavailable: %s", failure)
        try:
            self._on_open()
        except Exception:  # go on probing
            logger.exception("The calls of the database could not be failed")

    def _close(self) -> None:
        if self.is_open:
            self.is_open = False
            logger.info("Database available")
