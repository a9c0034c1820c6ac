"""Log lines that anyone can cause, or that an outage repeats: one a minute for each kind."""

from __future__ import annotations

import logging
import time
from typing import Any

LOG_SECONDS = 60.0


class RareWarning:
    """Logs one warning per ``LOG_SECONDS``, with the number of those that it stands for."""

    def __init__(self, logger: logging.Logger, message: str) -> None:
        self._logger = logger
        self._message = message
        self._count, self._silent_until = 0, 0.0

    def log(self, *args: Any, exc_info: bool = False) -> None:
        """Log the message with ``args``, unless it was logged within the last minute.

        ``exc_info``: log an error, with the traceback of the exception that is being handled.
        """
        self._count += 1
        now = time.monotonic()
        if now < self._silent_until:
            return
        message = self._message
        if self._count > 1:
            message, args = f"{message} (%d since the last such line)", (*args, self._count)
        level = logging.ERROR if exc_info else logging.WARNING
        self._logger.log(level, message, *args, exc_info=exc_info)
        self._count, self._silent_until = 0, now + LOG_SECONDS

    def reset(self) -> None:
        """Log the next warning, whatever was logged before."""
        self._count, self._silent_until = 0, 0.0
