"""What one socket makes of the messages of its room, without a socket, a layer or a database."""

from __future__ import annotations

import json
import logging
from typing import Any
from unittest.mock import Mock, call

import pytest
from django.contrib.auth.models import User

from rooms.models import Participant, Room
from rooms.reconciling import Roster
from signalling.peers import room_mode
from signalling.peers.detached import DetachedPeer
from signalling.peers.membership import Membership, UnknownSender
from signalling.peers.messages import left
from signalling.protocol import errors
from signalling.sfu.mode import Mode
from signalling.transport.send_queue import Overflow
from signalling.transport.shares import ShareExceeded
from signalling.worker.reconciler import Mark
from tests.signalling.peers.test_detached_links import mode_changed
from tests.signalling.peers.test_room_events import EPOCH, Parts, my_return, relayed

JOINED = {
    "type": "signalling.roster",
    "room": "ABC123",
    "peer_id": "peer_new",
    "channel": "channel!new",
    "change": "joined",
    "number": 1,
    "frame": "joined",
}
ANNOUNCED = {
    "type": "signalling.announcement",
    "room": "ABC123",
    "peer_id": "peer_other",
    "frame": "announced",
}
UNTIL = "2030-01-01T00:00:00+00:00"
CLOSED = {"type": "signalling.closed", "room": "ABC123", "reason": "closed"}
REMOVED = {"type": "signalling.removed", "room": "ABC123", "peer_id": "peer_me"}
PAST = "2020-01-01T00:00:00+00:00"
TAKEOVER = {"type": "signalling.takeover", "peer_id": "peer_me", "reply_channel": "channel!later"}


def seated(**settings: Any) -> Parts:
    parts = Parts(**settings)
    parts.membership.is_seated = True
    return parts


def with_link(parts: Parts) -> Mock:
    link = Mock()
    parts.membership.link = link
    return link


def events(parts: Parts) -> list[tuple[str, Any]]:
    """Return the events that were written."""
    frames = [json.loads(frame) for frame in parts.written]
    return [(frame["event"], frame["data"]) for frame in frames]


# --- What is for this socket ------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {**relayed(1), "target": "peer_x"},
        {**ANNOUNCED, "room": "OTHER"},
        {**ANNOUNCED, "peer_id": "peer_gone"},
        {**JOINED, "room": "OTHER"},
        {**CLOSED, "room": "OTHER"},
        {**REMOVED, "peer_id": "peer_x"},
        {**TAKEOVER, "peer_id": "peer_x"},
        mode_changed(room="OTHER"),
        mode_changed(room="OTHER", surplus=["peer_me"]),
        mode_changed(version=0),
        {**my_return(EPOCH + 1), "room": "OTHER"},
        {**my_return(EPOCH + 1), "change": "away"},
    ],
)
def test_what_is_not_for_this_socket_changes_nothing(message: dict[str, Any]) -> None:
    parts = seated()
    parts.room.deliver(message)
    assert not parts.replies.mock_calls
    assert parts.room.membership is parts.membership
    assert (parts.membership.roster, parts.membership.mode) == (
        {"peer_other": "channel!other"},
        Mode(),
    )


def test_a_relay_of_a_peer_that_is_not_in_the_roster_is_refused() -> None:
    """The join may have been announced and lost: the sender is notified, and can send again."""
    parts = seated()
    with pytest.raises(UnknownSender):
        parts.room.deliver(relayed(1, sender="peer_new"))
    assert not parts.replies.mock_calls


@pytest.mark.parametrize("message", [ANNOUNCED, JOINED, CLOSED, REMOVED, TAKEOVER])
def test_without_a_membership_nothing_is_delivered(message: dict[str, Any]) -> None:
    parts = seated()
    parts.room.membership = None
    parts.room.deliver(message)
    assert not parts.replies.mock_calls


def test_relays_and_announcements_of_peers_of_the_room_are_written() -> None:
    parts = seated()
    parts.room.deliver(relayed(1))
    parts.room.deliver(ANNOUNCED)
    assert parts.written == ["frame 1 of peer_other", "announced"]


def test_a_roster_change_is_written_once() -> None:
    parts = seated()
    for _ in range(2):
        parts.room.deliver(JOINED)
    assert parts.written == ["joined"]
    assert parts.membership.roster["peer_new"] == "channel!new"


def test_a_bug_in_the_delivery_of_a_well_formed_message_is_raised() -> None:
    parts = seated()
    parts.replies.write.side_effect = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        parts.room.deliver(JOINED)
    parts.room.deliver({**JOINED, "room": 5})


def test_what_came_before_the_join_is_delivered_after_it() -> None:
    parts = Parts()
    for message in (relayed(1), JOINED, relayed(1, sender="peer_new")):
        parts.room.deliver(message)
    assert parts.written == []
    parts.replies.write.side_effect = [ShareExceeded, None, None]
    parts.room.seated()
    assert parts.written == ["frame 1 of peer_other", "joined", "frame 1 of peer_new"]
    refused = {"type": "channel.refused", "channel": "channel!me", "peer_id": "peer_me"}
    assert parts.stores.forward.mock_calls == [call("", refused)]
    assert parts.membership.is_seated


def test_a_socket_without_a_membership_cannot_be_seated() -> None:
    parts = Parts()
    parts.room.membership = None
    with pytest.raises(AssertionError):
        parts.room.seated()


# --- The end of a membership ------------------------------------------------------------------


async def test_a_closed_room_closes_the_socket() -> None:
    parts = seated()
    link = with_link(parts)
    parts.room.deliver(CLOSED)
    await parts.settle()
    assert events(parts) == [("room:closed", {"reason": "closed"})]
    assert parts.replies.close.mock_calls == [call(4410)]
    assert_forgotten(parts, link)


def assert_forgotten(parts: Parts, link: Mock) -> None:
    assert parts.room.membership is None
    assert link.mock_calls == [call.close()]
    assert parts.stores.unsubscribe.mock_calls == [call("ABC123")]


@pytest.mark.parametrize(("reason", "code"), [({}, "removed"), ({"reason": "evicted"}, "evicted")])
async def test_a_removed_peer_gets_the_reason(reason: dict[str, str], code: str) -> None:
    parts = seated()
    link = with_link(parts)
    parts.room.deliver({**REMOVED, **reason})
    await parts.settle()
    assert parts.errors == [(code, 4403)]
    assert_forgotten(parts, link)


def test_for_the_others_a_removed_peer_has_left() -> None:
    parts = seated()
    for _ in range(2):
        parts.room.deliver({**REMOVED, "peer_id": "peer_other", "reason": "evicted"})
    assert parts.written == [left("ABC123", "peer_other", "evicted")["frame"]]
    assert parts.membership.roster == {}


async def test_a_peer_that_resumed_on_another_worker_leaves_its_connections_to_it() -> None:
    parts = seated()
    await parts.subscription.open()
    link = with_link(parts)
    parts.room.deliver(dict(my_return(EPOCH + 1)))
    assert parts.errors == [("not_in_room", 4409)]
    assert parts.room.membership is None
    assert link.mock_calls == [call.detach_client(), call.release()]
    (detached,) = parts.worker.detached.add.call_args.args
    detached.end()


async def test_a_socket_without_connections_can_end_too(caplog: pytest.LogCaptureFixture) -> None:
    parts = seated()
    parts.stores.unsubscribe.side_effect = errors.unavailable()
    parts.room.deliver(CLOSED)
    await parts.settle()
    assert parts.room.membership is None
    assert [record.name for record in caplog.records] == ["signalling"]
    assert "stays in the group" in caplog.text


async def test_a_takeover_hands_the_peer_over_and_closes_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = seated()
    await parts.subscription.open()
    send = Mock()
    monkeypatch.setattr(parts.subscription, "send", send)
    parts.membership.received["peer_other"] = 7
    parts.room.deliver(TAKEOVER)
    channel, handover = send.call_args.args
    assert (channel, handover["type"]) == ("channel!later", "signalling.handover")
    assert (handover["received"], handover["gap"]) == ({"peer_other": 7}, False)
    assert parts.errors == [("not_in_room", 4409)]
    assert parts.room.membership is None
    (added,) = parts.worker.detached.add.call_args.args
    added.end()


async def test_a_detached_peer_holds_what_came_before_its_join_and_is_announced() -> None:
    parts = Parts()
    await parts.subscription.open()
    parts.room.deliver(relayed(1))
    parts.room.detach(parts.membership, is_abandoned=False)
    await parts.settle()
    assert parts.room.membership is None
    (detached,) = parts.worker.detached.add.call_args.args
    assert isinstance(detached, DetachedPeer)
    assert [number for _, number, _ in detached.frames] == [1]
    ((announce, *_), _) = parts.stores.record.call_args
    assert (announce(7)["change"], announce(7)["peer_id"]) == ("away", "peer_me")
    detached.end()


async def test_an_aborted_join_forgets_what_has_waited_for_it() -> None:
    parts = Parts()
    parts.room.deliver(relayed(1))
    await parts.room.unsubscribe("ABC123")
    parts.room.seated()
    assert parts.written == []
    assert parts.stores.unsubscribe.mock_calls == [call("ABC123")]


def test_held_frames_that_come_after_the_join_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    parts = seated()
    with caplog.at_level(logging.WARNING, logger="signalling"):
        parts.room.deliver({"type": "signalling.handover", "peer_id": "peer_me"})
    assert "peer_me" in caplog.text


# --- The mode of the room ---------------------------------------------------------------------


async def test_a_later_mode_is_written_and_followed() -> None:
    parts = seated(switch_seconds=7.0)
    link = with_link(parts)
    parts.room.deliver(mode_changed(mode="p2p", sfu="", until=PAST))
    mode = Mode("p2p", 2, False, "", 50)
    assert parts.membership.mode == mode
    data = {"mode": "p2p", "version": 2, "until": PAST, "seconds": 0.0, "reason": "host"}
    assert events(parts) == [("room:mode", data)]
    assert link.mock_calls == [call.follow(mode, claim=None, close_after=7.0)]


async def test_a_surplus_peer_learns_when_it_may_try_again() -> None:
    parts = seated(switch_pause=9)
    link = with_link(parts)
    parts.room.deliver(mode_changed(surplus=["peer_x", "peer_me"]))
    await parts.settle()
    (error,) = parts.replies.send_error.call_args.args
    assert (error.code, error.details) == ("sfu_unavailable", {"retry_after": 9})
    assert parts.written == []
    assert_forgotten(parts, link)


def test_only_a_peer_of_a_routed_room_gets_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    made, link = Mock(), Mock()
    made.return_value = link
    monkeypatch.setattr(room_mode, "SfuLink", made)
    parts = seated(switch_seconds=7.0)
    parts.room.follow_mode(None)
    assert not made.called
    parts.membership.mode = Mode("sfu", 1, False, "a", 50)
    for claim in ({"publish": 1}, None):
        parts.room.follow_mode(claim)
    made.assert_called_once_with(parts.membership, parts.replies.push)
    assert parts.membership.link is link
    assert link.follow.mock_calls == [
        call(parts.membership.mode, claim=claim, close_after=7.0)
        for claim in ({"publish": 1}, None)
    ]
    parts.room.membership = None
    parts.room.follow_mode(None)
    assert link.follow.call_count == 2


# --- After announcements were lost ------------------------------------------------------------


def participant(peer_id: str, channel: str, epoch: int = 0) -> Participant:
    user = User(username="someone")
    return Participant(
        pk=5,
        peer_id=peer_id,
        channel_name=channel,
        epoch=epoch,
        user=user,
        user_info={"username": "someone"},
        room=Room(code="ABC123"),
    )


ME = participant("peer_me", "channel!me")
OTHER = participant("peer_other", "channel!other")
NEW = participant("peer_new", "channel!new")


def refresh(parts: Parts, *participants: Participant, mode_version: int = 0) -> bool:
    """Apply what the database has, after announcements were lost."""
    room = Room(code="ABC123", mode_version=mode_version)
    mark = Mark.of(parts.membership)
    return parts.room.refresh(Roster(room, [*participants]) if participants else None, mark)


def test_lost_announcements_are_read_after_a_check() -> None:
    parts = seated()
    parts.room.deliver({"type": "channel.missed"})
    assert parts.worker.mock_calls == [
        call.suspensions.distrust(),
        call.reconciler.request("ABC123"),
    ]


async def test_what_was_missed_is_written() -> None:
    parts = seated()
    parts.membership.roster["peer_gone"] = "channel!gone"
    assert refresh(parts, ME, OTHER, NEW, mode_version=4)
    assert [event for event, _ in events(parts)] == ["peer:left", "peer:joined", "room:mode"]
    (_, left_data), (_, joined_data), (_, mode_data) = events(parts)
    assert (left_data["peerId"], joined_data["peerId"]) == ("peer_gone", "peer_new")
    assert (mode_data["version"], mode_data["reason"]) == (4, "missed")
    assert parts.membership.roster.keys() == {"peer_other", "peer_new"}


@pytest.mark.parametrize("participants", [[OTHER], []])
async def test_a_membership_that_ended_unnoticed_ends(participants: list[Participant]) -> None:
    parts = seated()
    link = with_link(parts)
    assert refresh(parts, *participants)
    await parts.settle()
    assert parts.errors == [("not_in_room", 4503)]
    assert parts.written == []
    assert_forgotten(parts, link)


def test_a_client_that_reads_too_slowly_for_what_was_missed_is_closed() -> None:
    parts = seated()
    parts.replies.write.side_effect = Overflow
    assert refresh(parts, ME, OTHER, NEW)
    assert parts.replies.close_too_slow.mock_calls == [call()]


@pytest.mark.parametrize("later", [None, Membership("OTHER")])
def test_what_was_missed_by_a_former_membership_is_not_written(later: Membership | None) -> None:
    parts = seated()
    parts.room.membership = later
    assert refresh(parts, ME, NEW, mode_version=4)

    assert parts.written == []
