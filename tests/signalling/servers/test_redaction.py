"""Access tokens in log records."""

from __future__ import annotations

import logging

import pytest

from signalling.servers.redaction import DJANGO_LOGGERS, RedactionFilter, redact, redact_logs

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIn0.c2ln-bmF0_dXJl"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"/login/?token={JWT}", "/login/?token=[redacted]"),
        ("/login/?a=1&token=opaque&b=2", "/login/?a=1&token=[redacted]&b=2"),
        ("/login/?TOKEN=opaque", "/login/?TOKEN=[redacted]"),
        ("Authorization: Bearer opaque", "Authorization: Bearer [redacted]"),
        ("['signalling.v1', 'bearer.opaque']", "['signalling.v1', 'bearer.[redacted]']"),
        (f"/reset/{JWT}/?next=/", "/reset/[redacted]/?next=/"),
        ("/tokens/?page=2", "/tokens/?page=2"),
        ("/?tokens=2", "/?tokens=2"),
        ("a bearer of news", "a bearer [redacted] news"),
    ],
)
def test_tokens_are_redacted(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def record(message: object, *args: object) -> logging.LogRecord:
    return logging.LogRecord("uvicorn.access", logging.INFO, __file__, 1, message, args, None)


def test_the_arguments_of_an_access_log_keep_their_places() -> None:
    """uvicorn's formatter takes them apart."""
    entry = record('%s - "%s %s" %d', "127.0.0.1:1", "GET", "/?token=x", 200)
    assert RedactionFilter().filter(entry)
    assert entry.args == ("127.0.0.1:1", "GET", "/?token=[redacted]", 200)
    assert entry.getMessage() == '127.0.0.1:1 - "GET /?token=[redacted]" 200'


def test_objects_and_mappings_are_redacted() -> None:
    entry = record("%s %s", {"query_string": b"token=x"}, None)
    assert RedactionFilter().filter(entry)
    assert entry.getMessage() == "{'query_string': b'token=[redacted]'} None"
    entry = record("%(path)s", {"path": "/?token=x"})
    assert RedactionFilter().filter(entry)
    assert entry.getMessage() == "/?token=[redacted]"


def test_the_type_of_an_exception_is_kept() -> None:
    entry = record("Refused: %r, %s", ValueError("?token=x"), "bearer x")
    assert RedactionFilter().filter(entry)
    assert entry.getMessage() == "Refused: ValueError('?token=[redacted]'), bearer [redacted]"


def test_a_message_without_arguments_is_redacted() -> None:
    entry = record("GET /?token=x 100%")
    assert RedactionFilter().filter(entry)
    assert entry.getMessage() == "GET /?token=[redacted] 100%"


def test_long_arguments_are_shortened() -> None:
    entry = record('%s - "%s %s" %d', "127.0.0.1:1", "GET", "/" + "a" * 12_000, 404)
    assert RedactionFilter().filter(entry)
    assert entry.getMessage() == f'127.0.0.1:1 - "GET /{"a" * 199}…" 404'


def test_a_token_is_redacted_before_a_path_is_shortened() -> None:
    entry = record("%s", f"/{'a' * 180}?token={JWT}")
    assert RedactionFilter().filter(entry)
    assert entry.getMessage() == f"/{'a' * 180}?token=[redacted]"


@pytest.mark.parametrize("name", DJANGO_LOGGERS)
def test_long_messages_of_django_are_shortened(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in DJANGO_LOGGERS:
        monkeypatch.setattr(logging.getLogger(each), "filters", [])
    redact_logs([])
    logger = logging.getLogger(name)
    logger.error("Invalid HTTP_HOST header: " + "a" * 12_000)
    logger.error("Not Found: %s", "/" + "a" * 12_000)
    assert [len(entry.getMessage()) for entry in caplog.records] == [201, 212]


def test_tracebacks_of_the_servers_are_kept() -> None:
    entry = record("Traceback" + "a" * 12_000)
    assert RedactionFilter().filter(entry)
    assert len(entry.getMessage()) == 12_009
