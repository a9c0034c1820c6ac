"""Counts of what was dropped, and log lines about it: one a minute for each reason."""

from __future__ import annotations

import logging
import time
from collections import Counter

LOG_SECONDS = 60.0


class Drops:
    """Counts drops by reason. A flood of them costs no more than one log line a minute."""

    def __init__(self, logger: logging.Logger) -> None:
        self.counts: Counter[str] = Counter()
        self._logger = logger
        self._log_at: dict[str, float] = {}

    def add(self, reason: str, text: str, *args: object, exc_info: bool = False) -> None:
        """Count a drop. ``reason`` is one of a fixed set: it is the label of a metric."""
        self.counts[reason] += 1
        now = time.monotonic()
        if now < self._log_at.get(reason, 0.0):
            return
        self._log_at[reason] = now + LOG_SECONDS
        self._logger.warning(
            f"{text} (%d in all; logged once a minute)",
            *args,
            self.counts[reason],
            exc_info=exc_info,
        )


bus = Drops(logging.getLogger("signalling.pubsub"))
"""What the Redis layers of this process have dropped, of all that arrived from Redis."""
