from __future__ import annotations

import json

import pytest

from rooms.exceptions import CodeTaken, RoomError, RoomFull
from signalling.peers.replies import from_domain
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
def test_a_refusal_says_its_code_its_close_and_its_details(
    error: ProtocolError, code: str, close: CloseCode | None, details: dict[str, object]
) -> None:
    assert error.close == close
    data = json.loads(encode(error_event(error)))["data"]
    assert data.pop("message").endswith(".")
    assert data == {"code": code, **details}
    assert code in {known.value for known in ErrorCode}


@pytest.mark.parametrize(("wait", "said"), [(0.00001, 0.001), (0.0101, 0.011), (2.0, 2.0)])
def test_a_wait_is_rounded_up_so_that_who_waits_it_has_room(wait: float, said: float) -> None:
    assert errors.rate_limited(wait, "frames").details["retry_after"] == said


def test_a_refusal_of_the_domain_keeps_its_words() -> None:
    error = RoomFull()
    refusal = from_domain(error)
    assert (refusal.code, refusal.message) == (error.code, str(error))
    assert refusal.details == error.details
    assert refusal.details is not error.details


def test_every_refusal_of_the_domain_is_a_code_of_the_protocol() -> None:
    known = {code.value for code in ErrorCode}
    said = {kind.code for kind in RoomError.__subclasses__() if kind is not CodeTaken}
    assert said <= known  # who opens a room, and wishes for a code, does so over HTTP
