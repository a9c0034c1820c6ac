from __future__ import annotations

import pytest
from pytest_django import Settings

from signalling.protocol import CloseCode, ErrorCode, ProtocolError
from signalling.throttling import failures


def test_wrong_tokens_below_the_limit_are_only_counted(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 3}
    for _ in range(3):
        failures.wrong_token("192.0.2.1")


def test_too_many_wrong_tokens_close_the_socket_as_a_flood(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    failures.wrong_token("192.0.2.1")
    for _ in range(2):  # an attempt that is refused does not lengthen the delay
        with pytest.raises(ProtocolError) as error:
            failures.wrong_token("192.0.2.1")
        assert (error.value.code, error.value.close) == (ErrorCode.RATE_LIMITED, CloseCode.FLOOD)
        assert error.value.details == {"retry_after": 1}
    failures.wrong_token("192.0.2.2")
