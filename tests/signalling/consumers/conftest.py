"""Fixtures of the consumer's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from channels.layers import channel_layers
from pytest_django import Settings

from rooms import services
from tests.signalling.consumers.faulty_layer import FaultyLayer

Configure = Callable[..., None]
ErrorLog = Callable[[], list[str]]


@pytest.fixture
def configure(settings: Settings) -> Configure:
    """Return a function that overrides keys of the ``SIGNALLING`` setting."""

    def configure(**keys: object) -> None:
        settings.SIGNALLING = {**settings.SIGNALLING, **keys}

    return configure


@pytest.fixture
def error_log(caplog: pytest.LogCaptureFixture) -> ErrorLog:
    """Return a function that returns the messages logged at ERROR."""

    def error_log() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]

    return error_log


@pytest.fixture
def leave_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return a list of the peer id and the reason of each call of ``services.leave``."""
    calls: list[tuple[str, str]] = []
    original = services.leave

    def leave(peer_id: str, *, reason: str = "left", epoch: int | None = None) -> int:
        calls.append((peer_id, reason))
        return original(peer_id, reason=reason, epoch=epoch)

    monkeypatch.setattr(services, "leave", leave)
    return calls


@pytest.fixture
async def layer() -> FaultyLayer:
    """Replace the default channel layer by a ``FaultyLayer``."""
    faulty = FaultyLayer()
    channel_layers.set("default", faulty)
    return faulty
