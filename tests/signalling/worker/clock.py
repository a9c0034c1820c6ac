"""A clock that stands still until a test moves it."""

from __future__ import annotations

from types import ModuleType

import pytest


class StoppedClock:
    """Replaces ``monotonic`` in these modules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        self.now = 1000.0
        for module in modules:
            monkeypatch.setattr(module, "monotonic", self)

    def __call__(self) -> float:
        return self.now
