from __future__ import annotations

import pytest
from pytest_django import Settings

from signalling.worker import pushes, revocations


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Check pushed changes almost at once, and sweep only when the test does."""
    monkeypatch.setattr(revocations, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(revocations, "RECHECK_SECONDS", 0.1)
    monkeypatch.setattr(pushes._Outage, "ends_at", 0.0)
    settings.SIGNALLING = {"LEASE_SECONDS": 3000, "LEASE_RENEWAL": 1000}
