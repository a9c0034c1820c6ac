from __future__ import annotations

import pytest

from signalling.worker import revocations


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check pushed changes almost at once."""
    monkeypatch.setattr(revocations, "PAUSE_SECONDS", 0.05)
