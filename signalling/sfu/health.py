"""Notices that an SFU is lost which keeps no connection to this process, and that it is back."""

from __future__ import annotations

import asyncio
import logging

from .base import Sfu, SfuRefused, SfuUnavailableError

logger = logging.getLogger("signalling")

WATCH_SECONDS = 2.0
MISSES = 3  # probes without an answer, after which an SFU is taken for dead


async def watch(backend: Sfu) -> None:
    """Ask an SFU for a sign of life, again and again, until cancelled."""
    misses = 0
    while True:
        try:
            await backend.probe()
            misses = 0
            backend.come_up()
        except SfuUnavailableError as error:
            misses += 1
            if misses >= MISSES:
                backend.go_down(error)
        except SfuRefused as refusal:  # it lives
            logger.warning("the SFU %r refuses to be asked: %s", backend.alias, refusal)
        except Exception:
            logger.exception("the watch of the SFU %r failed", backend.alias)
        await asyncio.sleep(WATCH_SECONDS)
