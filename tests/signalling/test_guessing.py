from __future__ import annotations

import pytest
from pytest_django import Settings

from signalling.protocol import CloseCode, ErrorCode, ProtocolError
from signalling.throttling import failures


def test_nobody_waits_before_the_limit(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 3}
    failures.failed("a")
    failures.failed("a")
    failures.check("a")


def test_who_failed_too_often_is_told_how_long_to_wait(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    for _ in range(3):
        failures.failed("a", "b")
    for keys in (("a",), ("x", "b")):
        with pytest.raises(ProtocolError) as refusal:
            failures.check(*keys)
        assert refusal.value.code == ErrorCode.RATE_LIMITED
        assert refusal.value.details == {"retry_after": 4}
        assert refusal.value.close is None
    failures.check("x")


def test_the_refusal_may_cost_the_socket(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.failed("a")
    with pytest.raises(ProtocolError) as refusal:
        failures.check("a", close=CloseCode.FLOOD)
    assert refusal.value.close == 4429


def test_changed_settings_begin_anew(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.failed("a")
    settings.SIGNALLING = {"FAILURE_LIMIT": 1, "FAILURE_WINDOW": 60.0}
    failures.check("a")
    assert failures._throttle().window == 60


def test_other_changed_settings_forget_nothing(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.failed("a")
    settings.LANGUAGE_CODE = "de"
    with pytest.raises(ProtocolError):
        failures.check("a")
