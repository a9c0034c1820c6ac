"""Log lines that are limited to one a minute."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import redis

from rooms import logs
from rooms.logs import RareTracebacks, RareWarning, describe


def test_a_line_stands_for_those_of_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: now))
    warning = RareWarning(logging.getLogger("rooms"), "Refused %s")
    for _ in range(3):
        warning.log("a")
    now += 60
    warning.log("b")
    now += 59.5
    warning.log("c")
    now += 0.5
    warning.log("d")
    assert caplog.messages == [
        "Refused a",
        "Refused b (3 since the last such line)",
        "Refused d (2 since the last such line)",
    ]


def test_a_reset_forgets_the_lines_of_the_minute(caplog: pytest.LogCaptureFixture) -> None:
    warning = RareWarning(logging.getLogger("rooms"), "Refused %s")
    for _ in range(3):
        warning.log("a")
    warning.reset()
    warning.log("b")
    assert caplog.messages == ["Refused a", "Refused b"]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_an_exception_is_an_error_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError
    except ValueError:
        RareWarning(logging.getLogger("rooms"), "Failed").log(exc_info=True)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


def test_each_place_has_one_traceback_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(logs, "PLACES", 3)
    tracebacks = RareTracebacks()

    def fail(kind: type[Exception]) -> bool:
        try:
            raise kind
        except Exception as error:
            return tracebacks.is_due(error)

    def fail_elsewhere() -> bool:
        try:
            raise ValueError
        except ValueError as error:
            return tracebacks.is_due(error)

    assert [fail(ValueError), fail(ValueError), fail_elsewhere(), fail_elsewhere()] == [1, 0, 1, 0]
    now += 59.5
    assert [fail(ValueError), fail(LookupError)] == [0, 1]
    now += 0.5
    assert [fail(ValueError), fail(ValueError)] == [1, 0]  # one more than PLACES
    assert [fail(LookupError), fail(LookupError)] == [1, 0]
    assert tracebacks.is_due(None)
    tracebacks.reset()
    assert fail(ValueError)


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (redis.ConnectionError("refused by localhost"), "ConnectionError('refused by localhost')"),
        (ConnectionError("refused"), "ConnectionError('refused')"),
        (TimeoutError(), "TimeoutError()"),
    ],
)
def test_an_error_is_described_with_its_text(error: Exception, described: str) -> None:
    assert describe(error) == described
