"""Answers, errors and closes without a socket, and the conversion of domain errors."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from unittest.mock import Mock, call

import pytest
from django.db import OperationalError

from rooms.exceptions import CodeTaken, RoomError, RoomFull, TooManyRooms
from signalling import metrics, protocol
from signalling.conf import SignallingSettings
from signalling.peers.replies import Replies, from_domain, to_protocol_error
from signalling.protocol import CloseCode, ErrorCode, Request, errors
from signalling.transport.send_queue import Overflow


class Client:
    """What a client gets, and the two callbacks."""

    def __init__(self) -> None:
        self.queue, self.on_close, self.abandon = Mock(), Mock(), Mock()
        self.replies = Replies(self.queue, on_close=self.on_close, abandon=self.abandon)

    def overflow(self) -> None:
        """Let the client read nothing from now on."""
        self.queue.put.side_effect = Overflow

    @property
    def received(self) -> list[Any]:
        """Its frames without those that were dropped, and the codes of its closes."""
        puts = [each.args[0] for each in self.queue.put.call_args_list]
        lasts = [event for each in self.queue.put_last.call_args_list for event in each.args]
        return [
            json.loads(event["text"]) if "text" in event else event["code"]
            for event in (lasts or puts)
        ]


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """Return the counts of errors, closes and overflows together."""
    counts: Counter[Any] = Counter()
    for name in ("errors", "closes", "totals"):
        monkeypatch.setattr(metrics, name, counts)
    return counts


# --- Answers and errors -----------------------------------------------------------------------


def test_only_the_first_answer_has_the_id_of_the_request() -> None:
    client = Client()
    client.replies.request_id = 7
    for _ in range(2):
        client.replies.answer(protocol.Pong())
    assert client.received == [
        {"event": "pong", "id": 7, "data": {}},
        {"event": "pong", "data": {}},
    ]


def test_the_sender_of_a_relay_is_passed_on() -> None:
    client = Client()
    client.replies.write("{}", "2")
    assert client.queue.mock_calls == [call.put({"type": "websocket.send", "text": "{}"}, "2")]


def test_errors_are_counted_and_may_close_the_socket(counts: Counter[Any]) -> None:
    client = Client()
    client.replies.request_id = 7
    client.replies.send_error(errors.peer_busy())
    client.replies.reply_error(errors.removed("removed"), "webrtc:ice")
    busy, removed, code = client.received
    assert (busy["data"]["code"], "id" in busy, "event" in busy["data"]) == (
        "peer_busy",
        False,
        False,
    )
    assert (removed["data"]["code"], removed["id"], removed["data"]["event"]) == (
        "removed",
        7,
        "webrtc:ice",
    )
    assert code == 4403
    assert counts == {"peer_busy": 1, "removed": 1, 4403: 1}


def refuse(error: Exception, frame: str, request: Request | None, max_bytes: int) -> Any:
    """Refuse a frame; return the answer."""
    client = Client()
    if request is not None:
        client.replies.request_id = request.id
    try:
        raise error
    except Exception as raised:
        client.replies.refuse(raised, frame, request, max_bytes)
    return client.received[0]


def test_a_refusal_names_the_request_if_its_frame_is_not_too_large() -> None:
    frame = '{"event": "ping", "id": 7}'
    request = protocol.decode(frame, SignallingSettings().frame_limits)
    limited = errors.rate_limited(1, "x")
    answer = refuse(limited, frame, request, 0)
    assert (answer["id"], answer["data"]["event"]) == (7, "ping")
    answer = refuse(limited, frame, None, len(frame))
    assert (answer["id"], "event" in answer["data"]) == (7, False)
    assert "id" not in refuse(limited, frame, None, len(frame) - 1)


@pytest.mark.parametrize("request_event", ["ping", None])
def test_a_bug_is_logged_with_the_event_that_it_concerns(
    request_event: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    frame = '{"event": "ping", "id": 7}'
    request = protocol.decode(frame, SignallingSettings().frame_limits)
    answer = refuse(RuntimeError("a bug"), frame, request if request_event else None, 1000)
    assert answer["data"]["code"] == "internal"
    (record,) = caplog.records
    activity = request_event or "frame"
    reference = answer["data"]["reference"]
    assert record.getMessage() == f"Internal error {reference} while handling {activity}"
    assert record.exc_info
    assert len(reference) >= 12


def test_a_bug_that_is_repeated_has_one_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Anyone may be able to repeat it, without an identity."""
    bug, other = RuntimeError("a bug"), LookupError("another one")
    answers = [refuse(error, "{}", None, 10) for error in (bug, bug, other, bug)]
    assert [bool(record.exc_info) for record in caplog.records] == [True, False, True, False]
    reference = answers[3]["data"]["reference"]
    message = f"Internal error {reference} while handling frame: RuntimeError again"
    assert caplog.records[3].getMessage() == message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.peer_busy(), "peer_busy"),
        (RoomFull(), "room_full"),
        (OperationalError("away"), "unavailable"),
        (RuntimeError("a bug"), "internal"),
    ],
)
def test_every_exception_has_a_code(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert to_protocol_error(error, "ping").code == code
    is_logged, has_trace = code in ("unavailable", "internal"), code == "internal"
    assert [bool(record.exc_info) for record in caplog.records] == [has_trace] * is_logged


# --- The end ----------------------------------------------------------------------------------


def test_a_close_is_the_last_that_is_written(counts: Counter[Any]) -> None:
    client = Client()
    client.replies.write("{}")
    for _ in range(2):
        client.replies.close(CloseCode.ROOM_CLOSED)
    client.replies.write("{}")
    client.replies.close_too_slow()
    assert client.received == [{}, 4410]
    assert client.replies.closed_with == CloseCode.ROOM_CLOSED
    assert client.on_close.mock_calls == [call()]
    assert not client.abandon.called
    assert counts == {4410: 1}


def test_a_close_overtakes_what_does_not_fit() -> None:
    client = Client()
    client.overflow()
    client.replies.close(CloseCode.ROOM_CLOSED)
    assert client.received == [4410]
    assert client.on_close.mock_calls == [call()]


@pytest.mark.parametrize("push", ["push", "push_error", "close_too_slow"])
def test_a_client_that_reads_too_slowly_learns_it_before_the_close(
    push: str, counts: Counter[Any]
) -> None:
    client = Client()
    client.overflow()
    arguments: dict[str, list[Any]] = {"push": ["{}"], "push_error": [errors.too_slow()]}
    for _ in range(2):
        getattr(client.replies, push)(*arguments.get(push, []))
    error, code = client.received
    assert (error["event"], error["data"]["code"], code) == ("error", "peer_busy", 4508)
    assert client.replies.closed_with == CloseCode.TOO_SLOW
    assert (client.on_close.mock_calls, client.abandon.mock_calls) == ([call()], [call()])
    assert (counts[4508], counts["overflows"]) == (1, 1)


def test_what_is_pushed_in_time_is_received() -> None:
    client = Client()
    client.replies.push("{}")
    client.replies.push_error(errors.peer_busy())
    assert [frame.get("event") for frame in client.received] == [None, "error"]


def test_nothing_is_written_to_a_client_that_has_disconnected() -> None:
    client = Client()
    client.replies.stop()
    client.replies.write("{}")
    client.replies.close(CloseCode.ROOM_CLOSED)
    client.replies.close_too_slow()
    assert not client.queue.mock_calls
    assert client.replies.closed_with is None
    assert not client.on_close.called


# --- Errors of the domain ---------------------------------------------------------------------


def test_a_domain_error_keeps_its_message_and_details() -> None:
    error = RoomFull()
    converted = from_domain(error)
    assert (converted.code, converted.message) == (error.code, str(error))
    assert converted.details == error.details
    assert converted.details is not error.details


def test_every_domain_error_has_a_protocol_code() -> None:
    known = {code.value for code in ErrorCode}
    over_http = {CodeTaken, TooManyRooms}  # rooms are opened over HTTP only
    used = {kind.code for kind in RoomError.__subclasses__() if kind not in over_http}
    assert used <= known
