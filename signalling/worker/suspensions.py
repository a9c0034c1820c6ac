"""Notices that this process stood still: it was stopped, or its machine was paused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from .lease import CHECK_SECONDS, LeaseKeeper

logger = logging.getLogger("signalling")

SUSPENDED_SECONDS = 2.0
"""A process whose clock stood still for longer was suspended, and may have missed anything."""


class Suspensions:
    """Checks the sockets of this process after a suspension, before it handles another frame.

    ``check`` closes the sockets whose peers are elsewhere now. ``fence`` closes all, if the ``lease``
    has not lasted: other workers may consider this one dead.
    """

    def __init__(
        self,
        lease: LeaseKeeper,
        *,
        fence: Callable[[], None],
        check: Callable[[], Awaitable[Any]],
    ) -> None:
        self.alive_until = 0.0
        """Extended all the time. Once past, frames wait for ``check`` (``time.monotonic``)."""
        self._lease = lease
        self._fence = fence
        self._check_sockets = check
        self._checking: asyncio.Future[None] | None = None
        self._ticked_at = monotonic()
        self._stood_still_at = float("-inf")
        self._trust()

    async def watch(self) -> None:
        """Look at the clock, until cancelled."""
        while True:
            if not self._lease.check():
                self._fence()
            self._stood_still_at, self._ticked_at = self.stood_still_at, monotonic()
            if monotonic() > self.alive_until:
                self._begin()
            elif self._checking is None:
                self._trust()
            await asyncio.sleep(CHECK_SECONDS)

    @property
    def stood_still_at(self) -> float:
        """When this process was last suspended, or shortly before (``time.monotonic``)."""
        if monotonic() - self._ticked_at > SUSPENDED_SECONDS:
            self._stood_still_at = self._ticked_at
        return self._stood_still_at

    def distrust(self) -> None:
        """Check before the next frame is handled: announcements were lost."""
        self.alive_until = min(self.alive_until, monotonic())

    async def check(self) -> None:
        """Check the sockets. Concurrent calls share one check."""
        await asyncio.shield(self._begin())

    def _trust(self) -> None:
        self.alive_until = min(monotonic() + SUSPENDED_SECONDS, self._lease.alive_until)

    def _begin(self) -> asyncio.Future[None]:
        if self._checking is None:
            self._checking = asyncio.ensure_future(self._check())
        return self._checking

    async def _check(self) -> None:
        try:
            if self._lease.check():
                await self._check_sockets()
            else:
                self._fence()
        except Exception as error:  # relays do not depend on the database
            logger.warning("Could not check the sockets of this process: %r", error)
        finally:
            self._checking = None
            self._trust()
