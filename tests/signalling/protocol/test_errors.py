from __future__ import annotations

import json

import pytest

from signalling.protocol import CloseCode, ErrorCode, ProtocolError, encode, error_event, errors

EACH = [
    (errors.authentication_required(), "authentication_required", CloseCode.AUTHENTICATION, {}),
    (errors.unavailable(), "unavailable", None, {"retryAfter": 2}),
    (
        errors.unavailable(close=CloseCode.UNAVAILABLE, retry_after=1),
        "unavailable",
        CloseCode.UNAVAILABLE,
        {"retryAfter": 1},
    ),
    (errors.peer_not_found(), "peer_not_found", None, {}),
    (errors.peer_busy(), "peer_busy", None, {"retryAfter": 1}),
    (errors.rate_limited(0.25, "frames"), "rate_limited", None, {"retryAfter": 0.25}),
    (errors.internal("abc"), "internal", None, {"reference": "abc"}),
    (
        errors.internal("abc", close=CloseCode.INTERNAL),
        "internal",
        CloseCode.INTERNAL,
        {"reference": "abc"},
    ),
    (errors.too_slow(), "peer_busy", CloseCode.TOO_SLOW, {}),
]


@pytest.mark.parametrize(("error", "code", "close", "details"), EACH)
def test_each_error_has_its_code_close_code_and_details(
    error: ProtocolError, code: str, close: CloseCode | None, details: dict[str, object]
) -> None:
    assert error.close == close
    data = json.loads(encode(error_event(error)))["data"]
    assert data.pop("message").endswith(".")
    assert data == {"code": code, **details}
    assert code in {known.value for known in ErrorCode}


@pytest.mark.parametrize(("wait", "retry_after"), [(0.00001, 0.001), (0.0101, 0.011), (2.0, 2.0)])
def test_retry_after_is_rounded_up_so_that_the_retry_succeeds(
    wait: float, retry_after: float
) -> None:
    assert errors.rate_limited(wait, "frames").details["retry_after"] == retry_after
