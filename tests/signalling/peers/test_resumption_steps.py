"""``Resumption`` without sockets: who may resume, what may be lost, and the takeover."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any
from unittest.mock import Mock, call

import pytest

from rooms import resuming
from signalling.layers import Undeliverable
from signalling.peers import resumption
from signalling.peers.detached import DetachedPeer
from signalling.peers.membership import StaleSocket
from signalling.protocol import CloseCode
from signalling.worker.process import SETTLE_SECONDS
from tests.signalling.peers.test_room_events import EPOCH, Parts, relayed

LOST = {"type": "channel.lost", "channel": "channel!before"}


def handover(**fields: Any) -> dict[str, Any]:
    return {
        "type": "signalling.handover",
        "peer_id": "peer_me",
        "frames": [("peer_other", 4, "held")],
        "sent": {"peer_other": 2},
        "received": {"peer_other": 4},
        "gap": False,
        **fields,
    }


def resumable(**settings: Any) -> Parts:
    parts = Parts(**settings)
    parts.membership.is_seated = parts.membership.is_resumable = True
    parts.replies.closed_with = None
    return parts


async def detach(parts: Parts, *undelivered: Any, is_abandoned: bool = False) -> DetachedPeer:
    await parts.subscription.open()
    return parts.resumption.detach(parts.membership, undelivered, is_abandoned=is_abandoned)


async def has_gap(parts: Parts, *undelivered: Any, is_abandoned: bool = False) -> bool:
    """Detach the peer; return whether frames may have been lost."""
    detached = await detach(parts, *undelivered, is_abandoned=is_abandoned)
    detached.end()
    return detached.membership.has_gap


# --- Who may resume ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed_with", "has_hung_up", "is_possible"),
    [
        (None, False, True),
        (None, True, False),
        (CloseCode.TOO_SLOW, False, True),
        (CloseCode.UNAVAILABLE, True, True),  # the client answers our close with a close
        (CloseCode.REMOVED, False, False),
    ],
)
def test_a_membership_that_either_side_has_ended_is_not_resumed(
    closed_with: CloseCode | None, has_hung_up: bool, is_possible: bool
) -> None:
    parts = resumable()
    parts.replies.closed_with = closed_with
    assert parts.resumption.is_possible(parts.membership, has_hung_up) is is_possible


@pytest.mark.parametrize(
    ("fields", "is_possible"),
    [
        ({"is_resumable": False}, False),
        ({"is_seated": False, "epoch": 0}, False),
        ({"is_seated": True, "epoch": 0}, True),
        ({"is_seated": False, "epoch": 1}, True),
    ],
)
def test_only_a_client_with_a_token_resumes(fields: dict[str, Any], is_possible: bool) -> None:
    parts = resumable()
    for name, value in fields.items():
        setattr(parts.membership, name, value)
    assert parts.resumption.is_possible(parts.membership, False) is is_possible


# --- What may be lost -------------------------------------------------------------------------


@pytest.mark.parametrize("closed_with", [None, CloseCode.HEARTBEAT])
@pytest.mark.parametrize(("proven_at", "is_lost"), [(100.0, False), (99.9, True)])
async def test_a_relay_that_the_client_may_not_have_received_is_a_gap(
    monkeypatch: pytest.MonkeyPatch,
    proven_at: float,
    is_lost: bool,
    closed_with: CloseCode | None,
) -> None:
    """The client has answered since, or a relay was written less than a round trip before that."""
    monkeypatch.setattr(resumption, "monotonic", lambda: 99.0)
    parts = resumable()
    parts.heartbeat.proven_at = proven_at
    parts.replies.closed_with = closed_with
    parts.room.deliver(relayed(1))
    assert await has_gap(parts) is is_lost


@pytest.mark.parametrize(("frames", "is_lost"), [([("peer_other", 4, "held")], True), ([], False)])
async def test_a_held_frame_that_the_client_may_not_have_received_is_a_gap(
    monkeypatch: pytest.MonkeyPatch, frames: Any, is_lost: bool
) -> None:
    monkeypatch.setattr(resumption, "monotonic", lambda: 99.0)
    parts = resumable()
    parts.heartbeat.proven_at = 99.9
    parts.resumption.restore(
        parts.membership, {"frames": frames, "sent": {}, "received": {}, "gap": False}
    )
    parts.resumption.release(parts.membership)
    assert await has_gap(parts) is is_lost


async def test_a_close_by_the_server_loses_only_what_is_queued() -> None:
    """A message that waits for ``room:joined`` is held."""
    for waiting, is_abandoned, is_lost in ((0, False, False), (1, False, True), (0, True, True)):
        parts = resumable()
        parts.replies.closed_with = CloseCode.UNAVAILABLE
        parts.room.deliver(relayed(1))
        parts.send_queue.waiting = waiting
        assert await has_gap(parts, relayed(2), is_abandoned=is_abandoned) is is_lost


@pytest.mark.parametrize(
    ("stood_still_at", "relayed_at", "is_lost"),
    [(98.9, 99.5, False), (99.1, 99.0, False), (99.1, 99.5, True)],
    ids=["before the last frame", "after the last relay", "before the last relay"],
)
async def test_a_suspended_process_may_have_written_to_a_client_that_had_gone(
    monkeypatch: pytest.MonkeyPatch, stood_still_at: float, relayed_at: float, is_lost: bool
) -> None:
    """It closes its sockets itself, before it notices that the client has closed the connection."""
    monkeypatch.setattr(resumption, "monotonic", lambda: relayed_at)
    parts = resumable()
    parts.replies.closed_with = CloseCode.UNAVAILABLE
    parts.heartbeat.proven_at = 100.0
    parts.worker.suspensions.stood_still_at = stood_still_at
    parts.room.deliver(relayed(1))
    assert await has_gap(parts) is is_lost


async def test_an_earlier_gap_remains() -> None:
    parts = resumable()
    parts.replies.closed_with = CloseCode.UNAVAILABLE
    parts.membership.has_gap = True
    assert await has_gap(parts)


async def test_a_frame_that_cannot_be_held_is_a_gap() -> None:
    parts = resumable(held_frames=2)
    parts.replies.closed_with = CloseCode.UNAVAILABLE
    assert await has_gap(parts, relayed(1), relayed(2))
    (detached,) = parts.worker.detached.add.call_args.args
    assert [number for _, number, _ in detached.frames] == [1]


async def test_a_peer_without_a_socket_stays_for_its_window_and_keeps_its_connections() -> None:
    parts = resumable(resume_window=0)  # it ends later than that, if nothing else ends it
    link = Mock()
    parts.membership.link = link
    detached = await detach(parts)
    await asyncio.sleep(0.001)
    assert not detached.has_ended
    assert link.mock_calls == [call.detach_client()]
    detached.end()
    assert parts.worker.detached.discard.mock_calls == [call(detached)]


async def test_a_peer_is_recorded_and_announced_as_away() -> None:
    parts = resumable(resume_window=30)
    detached = await detach(parts, is_abandoned=True)
    before = monotonic()
    await parts.resumption.announce_away(detached)
    ((announce, function, peer_id), keywords) = parts.stores.record.call_args
    assert (function, peer_id) == (resuming.mark_away, "peer_me")
    assert (keywords["epoch"], keywords["gap"]) == (EPOCH, True)
    assert keywords["lost_at"] >= before
    announced = announce(7)
    assert announced["channel"] == detached.subscription.name
    assert (announced["change"], announced["version"]) == ("away", 7)
    detached.end()


# --- The takeover -----------------------------------------------------------------------------


async def take_over(parts: Parts, *answers: Any) -> list[bool]:
    """Take the peer over from a channel that answers; return which answers were accepted."""
    accepted: list[bool] = []

    async def send(channel: str, message: Any) -> None:
        assert channel == "channel!before"
        assert message == {
            "type": "signalling.takeover",
            "peer_id": "peer_me",
            "reply_channel": "channel!me",
        }
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            accepted.append(parts.resumption.accept_handover(answer))

    parts.stores.send = send
    await parts.resumption.take_over(parts.membership, "channel!before")
    return accepted


async def test_the_held_frames_are_fetched_and_sent_after_the_join() -> None:
    parts = Parts()
    assert await take_over(parts, relayed(9), handover(), LOST) == [False, True, True]
    assert (parts.membership.sent, parts.membership.received, parts.membership.has_gap) == (
        {"peer_other": 2},
        {"peer_other": 4},
        False,
    )
    assert parts.written == []
    parts.resumption.release(parts.membership)
    assert parts.written == ["held"]
    parts.resumption.release(parts.membership)
    assert parts.written == ["held"]


async def test_the_gap_of_the_previous_socket_is_taken_over() -> None:
    parts = Parts()
    await take_over(parts, handover(gap=True))
    assert parts.membership.has_gap


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (LOST, "the previous channel is closed"),
        (handover(frames=5), "the previous channel sent an invalid answer"),
        (Undeliverable("the layer is gone"), "the layer is gone"),
    ],
)
async def test_a_peer_without_its_held_frames_resumes_with_a_gap(
    answer: Any, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = Parts()
    await take_over(parts, answer)
    assert parts.membership.has_gap
    assert cause in caplog.text
    parts.resumption.release(parts.membership)
    assert parts.written == []


async def test_a_socket_does_not_wait_long_for_the_held_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resumption, "TAKEOVER_SECONDS", 0.001)
    parts = Parts()
    await take_over(parts)
    assert parts.membership.has_gap


async def test_only_the_previous_channel_can_answer_that_it_is_closed() -> None:
    """The report of a lost relay waits for ``room:joined``, as all messages do."""
    report = {"type": "channel.lost", "channel": "channel!other"}
    assert await take_over(Parts(), report, handover(), report) == [False, True, False]


def test_without_a_takeover_no_answer_is_accepted() -> None:
    parts = Parts()
    messages: list[Any] = [handover(), LOST]
    assert not any(parts.resumption.accept_handover(message) for message in messages)


# --- The order of relays after a resume -------------------------------------------------------


async def test_relays_wait_for_their_turn_until_all_senders_know_the_new_channel() -> None:
    parts = resumable()
    parts.resumption.settle_later(parts.membership)
    assert not parts.timers.start.called  # nothing to settle: it has not resumed
    await take_over(parts, handover())
    parts.resumption.release(parts.membership)
    parts.room.deliver(relayed(6))
    parts.room.deliver(relayed(5))
    assert parts.written == ["held", "frame 5 of peer_other", "frame 6 of peer_other"]
    parts.room.deliver(relayed(8))
    parts.resumption.settle_later(parts.membership)
    seconds, settle = parts.timers.start.call_args.args
    assert seconds == SETTLE_SECONDS
    for _ in range(2):
        settle()
    assert parts.written[3:] == ["frame 8 of peer_other"]
    with pytest.raises(StaleSocket):  # its turn is over
        parts.room.deliver(relayed(7))
    parts.room.deliver(relayed(10))  # no longer reordered
    assert parts.written[4:] == ["frame 10 of peer_other"]
    assert parts.membership.received == {"peer_other": 10}


async def test_only_a_sender_that_has_resumed_since_counts_from_1_again() -> None:
    """A late relay of the same epoch was held up in a former channel: it is older."""
    parts = resumable()
    parts.membership.relay_epochs["peer_other"] = 1
    await take_over(parts, handover(received_epochs={"peer_other": 1}))
    parts.resumption.release(parts.membership)
    with pytest.raises(StaleSocket):
        parts.room.deliver({**relayed(3), "epoch": 1})
    for number in (1, 2):
        parts.room.deliver({**relayed(number), "epoch": 2})
    assert parts.written == ["held", "frame 1 of peer_other", "frame 2 of peer_other"]
    with pytest.raises(StaleSocket):
        parts.room.deliver({**relayed(2), "epoch": 2})


async def test_a_frame_that_waits_for_its_turn_is_held_when_the_socket_is_lost_again() -> None:
    parts = resumable()
    await take_over(parts, handover())
    parts.room.deliver(relayed(6))
    detached = await detach(parts)
    assert [number for _, number, _ in detached.frames] == [4, 6]
    detached.end()
