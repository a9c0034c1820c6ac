"""Detects when an SFU stops responding, and when it recovers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .base import SfuRequestFailed, SfuUnavailable

logger = logging.getLogger("signalling")

PROBE_INTERVAL_SECONDS = 2.0
MAX_FAILED_PROBES = 3  # consecutive probes without a response before an SFU counts as down


async def monitor(
    alias: str,
    probe: Callable[[], Awaitable[None]],
    *,
    on_down: Callable[[SfuUnavailable], object],
    on_up: Callable[[], object],
) -> None:
    """Probe an SFU periodically until cancelled.

    Calls ``on_up`` after each successful probe. Calls ``on_down`` after each failed one, once
    several in a row have failed.
    """
    failed = 0
    while True:
        try:
            await probe()
            failed = 0
            on_up()
        except SfuUnavailable as error:
            failed += 1
            if failed >= MAX_FAILED_PROBES:
                on_down(error)
        except SfuRequestFailed as error:  # it responds, so it is not down
            logger.warning("SFU %r rejected a health check: %s", alias, error)
        except Exception:
            logger.exception("Health check of SFU %r failed", alias)
        await asyncio.sleep(PROBE_INTERVAL_SECONDS)
