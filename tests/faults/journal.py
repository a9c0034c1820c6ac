"""The history of a run, checked while it is logged."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from . import records
from .history import Checker


class Journal:
    """Logs records, and passes each to a ``Checker``."""

    def __init__(self, resume_window: float) -> None:
        self.history: list[records.AnyRecord] = []
        self.checker = Checker(resume_window)
        self.relay_numbers = itertools.count(1)
        self._began = time.monotonic()

    def now(self) -> float:
        """Return the seconds since the start of the run."""
        return round(time.monotonic() - self._began, 4)

    def add(self, record: records.AnyRecord) -> None:
        self.history.append(record)
        self.checker.add(record)

    def save(self, path: Path) -> None:
        records.save(self.history, path)
