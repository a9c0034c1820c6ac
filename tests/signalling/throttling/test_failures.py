from __future__ import annotations

import pytest
from pytest_django import Settings

from signalling.throttling import failures

pytestmark = pytest.mark.usefixtures("stopped_time")


def test_wrong_tokens_cause_a_delay_from_the_shared_limit_on(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1, "SHARED_FAILURE_LIMIT": 3}
    assert [failures.wrong_token("192.0.2.1") for _ in range(3)] == [0] * 3
    # an attempt during the delay does not lengthen it
    assert [failures.wrong_token("192.0.2.1") for _ in range(3)] == [1] * 3
    assert failures.wrong_token("192.0.2.2") == 0
