from __future__ import annotations

import pytest
from pytest_django import Settings

from signalling.protocol import CloseCode, ErrorCode, ProtocolError
from signalling.throttling import failures


def test_failures_below_the_limit_cause_no_delay(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 3}
    failures.failed("a")
    failures.failed("a")
    failures.check("a")


def test_too_many_failures_cause_an_error_with_the_delay(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    for _ in range(3):
        failures.failed("a", "b")
    for keys in (("a",), ("x", "b")):
        with pytest.raises(ProtocolError) as error:
            failures.check(*keys)
        assert error.value.code == ErrorCode.RATE_LIMITED
        assert error.value.details == {"retry_after": 4}
        assert error.value.close is None
    failures.check("x")


def test_the_error_may_close_the_socket(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.failed("a")
    with pytest.raises(ProtocolError) as error:
        failures.check("a", close=CloseCode.FLOOD)
    assert error.value.close == 4429


def test_changed_settings_reset_the_failures(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.failed("a")
    settings.SIGNALLING = {"FAILURE_LIMIT": 1, "FAILURE_WINDOW": 60.0}
    failures.check("a")
    assert failures._throttle().window == 60


def test_other_settings_do_not_reset_the_failures(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.failed("a")
    settings.LANGUAGE_CODE = "de"
    with pytest.raises(ProtocolError):
        failures.check("a")
