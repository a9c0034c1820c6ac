"""Log lines that anyone can cause, or that an outage repeats: one a minute for each kind."""

from __future__ import annotations

import logging
import time
from typing import Any

LOG_SECONDS = 60.0
PLACES = 100
"""The most places in the code whose tracebacks are remembered."""


def describe(error: BaseException) -> str:
    """Return the type and the text of an exception. The ``repr`` of those of redis-py has no text."""
    text = str(error)
    return f"{type(error).__name__}({text!r})" if text else f"{type(error).__name__}()"


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


class RareTracebacks:
    """Decides which exceptions are logged with a traceback: one a minute for each place in the code.

    A function of the site may raise for input that anyone can send again and again.
    """

    def __init__(self) -> None:
        self._silent_until: dict[tuple[object, ...], float] = {}

    def is_due(self, error: BaseException | None) -> bool:
        """Return whether the traceback of an exception should be logged."""
        place, now = _place(error), time.monotonic()
        if now < self._silent_until.get(place, 0.0):
            return False
        if len(self._silent_until) >= PLACES:
            self._silent_until.clear()
        self._silent_until[place] = now + LOG_SECONDS
        return True

    def reset(self) -> None:
        """Log the next traceback of each place."""
        self._silent_until.clear()


def _place(error: BaseException | None) -> tuple[object, ...]:
    """Return the type of an exception and the line that has raised it."""
    traceback = error.__traceback__ if error is not None else None
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return (type(error),)
    return type(error), traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
