"""``Membership``: roster changes that are new, known or out of date, and missed changes."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Participant, Room
from rooms.services import Joined
from signalling.peers.channels import PreviousChannels
from signalling.peers.membership import Membership
from signalling.peers.messages import Change, RosterChange

OTHER = "peer_other"
ROSTER = {OTHER: "channel!other"}


def membership() -> Membership:
    """A peer that joined as number 10, in a room with one other peer in its second epoch."""
    return Membership(
        "ABC123",
        peer_id="peer_me",
        number=10,
        roster={**ROSTER},
        epochs={OTHER: 2},
        previous_channels=PreviousChannels({"channel!previous": OTHER}),
        sent={OTHER: 3},
        received={OTHER: 4},
    )


def roster_change(
    change: Change, peer_id: str = OTHER, channel: str = "channel!new", number: int = 0
) -> RosterChange:
    return RosterChange(
        type="signalling.roster",
        room="ABC123",
        peer_id=peer_id,
        channel=channel,
        change=change,
        number=number,
        frame="{}",
    )


def participant(peer_id: str, channel: str, *, pk: int = 11, epoch: int = 0) -> Participant:
    room, user = Room(code="ABC123"), User(username="someone")
    return Participant(
        pk=pk, peer_id=peer_id, channel_name=channel, epoch=epoch, room=room, user=user
    )


def test_a_later_join_extends_the_roster() -> None:
    mine = membership()
    assert mine.apply(roster_change("joined", "peer_new", number=11))
    assert mine.roster == {**ROSTER, "peer_new": "channel!new"}


@pytest.mark.parametrize(
    ("peer_id", "number"),
    [(OTHER, 11), ("peer_former", 9)],
    ids=["known peer", "join before ours"],
)
def test_a_known_or_earlier_join_changes_nothing(peer_id: str, number: int) -> None:
    mine = membership()
    assert not mine.apply(roster_change("joined", peer_id, number=number))
    assert mine == membership()


def test_a_leave_removes_everything_about_the_peer() -> None:
    mine = membership()
    assert mine.apply(roster_change("left"))
    assert (mine.roster, mine.epochs, mine.previous_channels.owners) == ({}, {}, {})
    assert (mine.sent, mine.received) == ({}, {})


def test_a_leave_of_an_unknown_peer_changes_no_roster() -> None:
    mine = membership()
    assert not mine.apply(roster_change("left", "peer_unknown"))
    mine.departed.clear()
    assert mine == membership()


def test_the_late_announcement_of_a_peer_that_has_left_changes_nothing() -> None:
    """Another worker announces the leave, such as a removal, and may be faster."""
    mine = membership()
    for number in range(1000):
        mine.apply(roster_change("left", f"peer_{number}"))
    assert not mine.apply(roster_change("joined", "peer_999", number=11))
    assert mine.roster == ROSTER
    assert len(mine.departed) < 100


def test_a_leave_whose_announcement_without_a_version_comes_late_is_forgotten() -> None:
    mine = membership()
    left = roster_change("left", number=2)
    assert mine.apply(left | RosterChange(version=2))  # type: ignore[typeddict-item]
    assert not mine.apply(left | RosterChange(version=0))  # type: ignore[typeddict-item]
    mine.note(1)
    assert (mine.departed, mine.unwritten) == ({}, {})


@pytest.mark.parametrize(
    ("peer_id", "channel", "is_news"),
    [
        (OTHER, "channel!other", True),
        (OTHER, "channel!previous", False),
        ("peer_unknown", "channel!other", False),
    ],
    ids=["known channel", "former channel", "unknown peer"],
)
def test_a_peer_is_away_only_if_its_present_channel_has_closed(
    peer_id: str, channel: str, is_news: bool
) -> None:
    mine = membership()
    assert mine.apply(roster_change("away", peer_id, channel)) is is_news
    assert mine == membership()


def test_a_resumed_peer_has_a_new_channel_and_keeps_its_counters() -> None:
    mine = membership()
    assert mine.apply(roster_change("back", number=3))
    assert mine.roster == {OTHER: "channel!new"}
    assert mine.epochs == {OTHER: 3}
    assert mine.peers_at("channel!new") == mine.peers_at("channel!other") == [OTHER]
    assert mine.peers_at("channel!previous") == [OTHER]
    assert (mine.sent, mine.received) == ({OTHER: 3}, {OTHER: 4})


@pytest.mark.parametrize(
    ("peer_id", "number"),
    [(OTHER, 2), (OTHER, 1), ("peer_unknown", 3)],
    ids=["known epoch", "former epoch", "unknown peer"],
)
def test_a_known_or_former_resume_changes_nothing(peer_id: str, number: int) -> None:
    mine = membership()
    assert not mine.apply(roster_change("back", peer_id, number=number))
    assert mine == membership()


@pytest.mark.parametrize(("number", "is_new"), [(0, False), (1, True)])
def test_the_first_resume_of_a_peer_has_the_epoch_1(number: int, is_new: bool) -> None:
    mine = membership()
    mine.epochs.clear()
    assert mine.apply(roster_change("back", number=number)) is is_new


def test_a_new_membership_has_no_seat_and_cannot_be_resumed() -> None:
    new = Membership("ABC123")
    assert (new.number, new.epoch, new.is_seated, new.is_resumable) == (0, 0, False, False)


def test_a_complete_roster_has_missed_nothing() -> None:
    me, other = participant("peer_me", "channel!me", pk=10), participant(OTHER, ROSTER[OTHER], pk=9)
    mine = membership()
    assert list(mine.missed([other])) == []
    assert not any(mine.apply(change) for change in mine.missed([me, other]))
    assert mine == membership()


def test_missed_changes_make_the_roster_complete() -> None:
    mine = membership()
    mine.roster["peer_gone"] = "channel!gone"
    resumed = participant(OTHER, "channel!new", pk=9, epoch=3)
    joined = participant("peer_new", "channel!joined", pk=11)
    missed = list(mine.missed([resumed, joined]))
    assert [(change["change"], change["peer_id"]) for change in missed] == [
        ("left", "peer_gone"),
        ("back", OTHER),
        ("joined", "peer_new"),
    ]
    assert all(mine.apply(change) for change in missed)
    assert mine.roster == {OTHER: "channel!new", "peer_new": "channel!joined"}
    assert mine.epochs == {OTHER: 3}
    assert list(mine.missed([resumed, joined])) == []


def test_a_membership_adopts_its_seat_and_roster() -> None:
    room = Room(code="ABC123", mode=Room.Mode.P2P)
    me = participant("peer_me", "channel!me", pk=12, epoch=1)
    others = [participant(OTHER, "channel!other", epoch=2), participant("peer_new", "channel!new")]
    mine = Membership("ABC123")
    mine.adopt(Joined(room=room, participant=me, others=others, resume_token="token"))
    assert (mine.peer_id, mine.number, mine.epoch) == ("peer_me", 12, 1)
    assert mine.is_resumable
    assert mine.roster == {OTHER: "channel!other", "peer_new": "channel!new"}
    assert mine.epochs == {OTHER: 2}


def test_a_gap_is_reported_once() -> None:
    mine = membership()
    assert not mine.take_gap()
    mine.has_gap = True
    assert mine.take_gap()
    assert not mine.take_gap()
