"""A roster that is read from the database while announcements arrive: neither undoes the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import call

import pytest
from django.contrib.auth.models import User

from rooms.models import Participant, Room
from rooms.reconciling import Roster, Row
from signalling.peers import messages
from signalling.peers.membership import StaleSocket
from signalling.peers.messages import RosterChange
from signalling.protocol import CloseCode
from signalling.worker.reconciler import Mark
from tests.signalling.peers.test_room_events import EPOCH, Parts, my_return, relayed

SEEN = 10


def parts() -> Parts:
    """A seated socket that has seen the roster in version 10: itself and ``peer_other``."""
    parts = Parts()
    parts.membership.is_seated = True
    parts.membership.number = 5
    parts.membership.settle(SEEN)
    return parts


def peer(peer_id: str, *, epoch: int = 0, pk: int = 9, away: bool = False) -> Participant:
    return Participant(
        pk=pk,
        peer_id=peer_id,
        channel_name=f"channel!{peer_id.removeprefix('peer_')}",
        epoch=epoch,
        away_until=datetime(2026, 1, 1, tzinfo=UTC) if away else None,
        room=Room(code="ABC123"),
        user=User(username="someone"),
    )


ME, OTHER = peer("peer_me", epoch=EPOCH), peer("peer_other")


def read(version: int, *others: Participant, me: Participant | None = ME) -> Roster:
    mine = [me] if me else []
    return Roster(Room(code="ABC123", roster_version=version), [*mine, *others])


def refresh(parts: Parts, roster: Roster, *during: RosterChange) -> bool:
    """Apply a roster, during whose read some announcements arrive."""
    mark = Mark.of(parts.membership)
    for change in during:
        parts.room.deliver(dict(change))
    return parts.room.refresh(roster, mark)


def joined(peer_id: str, version: int) -> RosterChange:
    return messages.joined("ABC123", peer(peer_id), version)


def left(peer_id: str, version: int = 0, *, epoch: int = 0) -> RosterChange:
    return messages.left("ABC123", peer_id, "left", version, epoch=epoch)


def back(peer_id: str, *, epoch: int, version: int) -> RosterChange:
    return messages.back("ABC123", peer(peer_id, epoch=epoch), version)


def events(parts: Parts) -> list[tuple[str, str]]:
    """What the client was sent: events and peers."""
    named = [frame.split('"') for frame in parts.written]
    return [(words[3], words[9]) for words in named]


def test_a_gap_requests_one_read_and_no_gap_none() -> None:
    mine = parts()
    mine.room.deliver(dict(joined("peer_new", 11)))
    mine.worker.reconciler.request.assert_not_called()
    mine.room.deliver(dict(joined("peer_newer", 13)))
    mine.worker.reconciler.request.assert_called_once_with("ABC123", 13)


def test_changes_of_this_peer_and_removals_count_too() -> None:
    mine = parts()
    away = messages.away("ABC123", "peer_me", "channel!old", datetime.now(tz=UTC), 11)
    mine.room.deliver(dict(away))
    mine.room.deliver(
        {"type": "signalling.removed", "room": "ABC123", "peer_id": "peer_other", "version": 12}
    )
    assert mine.membership.versions.complete == 12
    assert mine.membership.roster == {}


def test_a_read_adds_and_removes_what_was_missed() -> None:
    mine = parts()
    assert refresh(mine, read(14, peer("peer_new")))
    assert events(mine) == [("peer:left", "peer_other"), ("peer:joined", "peer_new")]
    assert mine.membership.roster == {"peer_new": "channel!new"}
    assert mine.membership.versions.complete == 14
    assert refresh(mine, read(14, peer("peer_new")))
    assert len(mine.written) == 2


def test_a_leave_during_the_read_is_final() -> None:
    mine = parts()
    assert refresh(mine, read(11, OTHER, peer("peer_new")), left("peer_other", 13))
    assert events(mine) == [("peer:left", "peer_other"), ("peer:joined", "peer_new")]
    assert mine.membership.roster == {"peer_new": "channel!new"}
    assert refresh(mine, read(13, peer("peer_new")))
    assert mine.membership.departed == {}


def test_a_join_during_the_read_stays() -> None:
    mine = parts()
    assert refresh(mine, read(12, OTHER), joined("peer_new", 13))
    assert set(mine.membership.roster) == {"peer_other", "peer_new"}
    assert refresh(mine, read(14, OTHER))  # it has left since
    assert set(mine.membership.roster) == {"peer_other"}


def test_a_late_join_that_the_read_knows_to_have_ended_is_ignored() -> None:
    mine = parts()
    assert refresh(mine, read(12, OTHER))
    mine.room.deliver(dict(joined("peer_gone", 11)))
    assert set(mine.membership.roster) == {"peer_other"}
    assert mine.written == []


def test_a_late_join_during_the_read_that_has_ended_before_it_is_removed() -> None:
    mine = parts()
    assert refresh(mine, read(12, OTHER), joined("peer_gone", 11))
    assert events(mine) == [("peer:joined", "peer_gone"), ("peer:left", "peer_gone")]


def test_a_read_that_is_older_than_the_roster_is_repeated() -> None:
    mine = parts()
    assert not refresh(mine, read(SEEN, OTHER), joined("peer_new", 11), left("peer_other", 12))
    assert set(mine.membership.roster) == {"peer_new"}


def test_a_read_is_repeated_after_a_change_of_an_earlier_build() -> None:
    mine = parts()
    assert not refresh(mine, read(SEEN, OTHER), joined("peer_new", 0))
    assert refresh(mine, read(SEEN, OTHER, peer("peer_new")))
    assert set(mine.membership.roster) == {"peer_other", "peer_new"}
    assert len(mine.written) == 1


def test_a_leave_that_waits_for_the_database_is_final() -> None:
    """The row is still live, because the write is queued."""
    mine = parts()
    mine.room.deliver(dict(left("peer_other")))
    assert refresh(mine, read(11, OTHER))
    assert mine.membership.roster == {}
    mine.room.deliver(dict(left("peer_other", 12)))
    assert events(mine) == [("peer:left", "peer_other")]
    assert mine.membership.departed == {}


def test_a_former_socket_that_cannot_reach_the_database_ends_no_peer() -> None:
    """It leaves, and does not know that its peer has resumed elsewhere."""
    mine = parts()
    mine.room.deliver(dict(back("peer_other", epoch=1, version=11)))
    mine.room.deliver(dict(left("peer_other", epoch=0)))
    assert events(mine) == [("peer:back", "peer_other")]
    assert set(mine.membership.roster) == {"peer_other"}


def test_a_peer_whose_former_socket_has_announced_its_leave_returns_with_a_read() -> None:
    mine = parts()
    mine.room.deliver(dict(left("peer_other", epoch=0)))
    mine.room.deliver(dict(back("peer_other", epoch=1, version=11)))
    assert refresh(mine, read(11, peer("peer_other", epoch=1, pk=1)))
    assert events(mine) == [("peer:left", "peer_other"), ("peer:joined", "peer_other")]
    mine.room.deliver(dict(back("peer_other", epoch=1, version=11)))
    mine.room.deliver(dict(left("peer_other", epoch=0)))
    assert set(mine.membership.roster) == {"peer_other"}
    assert len(mine.written) == 2


def test_changes_of_a_peer_that_may_return_are_read_again() -> None:
    mine = parts()
    mine.room.deliver(dict(left("peer_other", epoch=0)))
    lost = messages.away("ABC123", "peer_other", "channel!other", datetime.now(UTC), 12)
    assert refresh(mine, read(11, peer("peer_other", epoch=1)), lost)
    assert mine.membership.versions.has_gap
    assert refresh(mine, read(12, peer("peer_other", epoch=1, away=True)))
    assert events(mine)[1:] == [("peer:joined", "peer_other"), ("peer:away", "peer_other")]


def test_a_written_leave_is_final_for_all_epochs() -> None:
    mine = parts()
    mine.room.deliver(dict(left("peer_other", 13)))
    mine.room.deliver(dict(left("peer_other", epoch=0)))
    assert refresh(mine, read(12, peer("peer_other", epoch=1)))
    assert mine.membership.roster == {}


def test_a_loss_of_the_new_socket_that_arrives_before_the_return_is_a_gap() -> None:
    mine = parts()
    lost = messages.away("ABC123", "peer_other", "channel!new", datetime.now(UTC), 12)
    mine.room.deliver(dict(lost))
    mine.room.deliver(dict(back("peer_other", epoch=1, version=11)))
    assert mine.membership.versions.complete == 11


def test_a_failover_that_lost_the_latest_changes_is_followed() -> None:
    mine = parts()
    mine.room.deliver(dict(joined("peer_lost", SEEN + 1)))
    assert refresh(mine, read(SEEN - 3, peer("peer_new")))
    assert mine.membership.roster == {"peer_new": "channel!new"}
    mine.room.deliver(dict(joined("peer_newer", SEEN - 2)))
    assert set(mine.membership.roster) == {"peer_new", "peer_newer"}


@pytest.mark.parametrize("change", ["away", "back"])
def test_a_change_that_is_announced_before_the_join_is_read(change: str) -> None:
    """Workers announce independently: the loss of a socket may overtake the join."""
    mine, returned = parts(), peer("peer_new", epoch=1)
    announced = {
        "away": messages.away("ABC123", "peer_new", "channel!new", datetime.now(tz=UTC), 12),
        "back": messages.back("ABC123", returned, 12),
    }
    mine.room.deliver(dict(announced[change]))
    mine.room.deliver(dict(joined("peer_new", 11)))
    assert (mine.membership.versions.complete, mine.membership.versions.has_gap) == (11, True)
    assert mine.worker.reconciler.request.mock_calls == [call("ABC123", 12)] * 2


def test_a_peer_that_was_read_has_its_epoch() -> None:
    mine = parts()
    assert refresh(mine, read(13, OTHER, returned := peer("peer_new", epoch=2)))
    mine.room.deliver(dict(messages.back("ABC123", peer("peer_new", epoch=1), 0)))
    assert events(mine) == [("peer:joined", "peer_new")]
    assert mine.membership.relay_epochs == {"peer_new": returned.epoch}


def test_peers_that_are_away_or_back_are_announced_once() -> None:
    mine = parts()
    away = peer("peer_other", away=True)
    assert refresh(mine, read(11, away))
    assert refresh(mine, read(12, away))
    returned = peer("peer_other", epoch=1)
    returned.channel_name = "channel!returned"
    assert refresh(mine, read(13, returned))
    assert events(mine) == [("peer:away", "peer_other"), ("peer:back", "peer_other")]
    assert mine.membership.away == set()


# --- Epochs -----------------------------------------------------------------------------------


async def test_a_socket_whose_peer_was_resumed_elsewhere_is_closed_by_a_read() -> None:
    mine = parts()
    await mine.subscription.open()
    later = peer("peer_me", epoch=EPOCH + 1)
    assert refresh(mine, read(11, OTHER, me=later))
    assert mine.room.membership is None
    (error,) = mine.replies.push_error.call_args.args
    assert error.close == CloseCode.RESUMED_ELSEWHERE


async def test_a_socket_whose_peer_is_not_in_the_room_is_closed_by_a_read() -> None:
    mine = parts()
    assert refresh(mine, read(11, OTHER, me=None))
    (error,) = mine.replies.push_error.call_args.args
    assert error.code == "not_in_room"


def row(**values: Any) -> Row:
    columns: dict[str, Any] = {
        "peer_id": "peer_me",
        "epoch": EPOCH,
        "channel_name": "channel!me",
        "worker_id": "worker",
        "left_at": None,
        "away_until": None,
        "resume_hash": "",
        "reason": "",
    }
    return Row(**columns | values)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row(left_at=datetime.now(tz=UTC), reason="removed"), CloseCode.REMOVED),
        (row(left_at=datetime.now(tz=UTC), reason="server_lost"), CloseCode.UNAVAILABLE),
        (row(left_at=datetime.now(tz=UTC), reason="room_closed"), CloseCode.ROOM_CLOSED),
        (None, CloseCode.UNAVAILABLE),
        (row(epoch=EPOCH + 1), CloseCode.RESUMED_ELSEWHERE),
        (row(away_until=datetime.now(tz=UTC)), CloseCode.UNAVAILABLE),
        (row(epoch=EPOCH - 1), CloseCode.UNAVAILABLE),
    ],
    ids=["removed", "reaped", "closed", "no row", "resumed", "away", "lost in a failover"],
)
async def test_a_socket_that_has_lost_its_peer_is_closed(
    found: Row | None, expected: CloseCode
) -> None:
    mine = parts()
    await mine.subscription.open()
    mine.room.lose(found)
    errors = [error.args[0].close for error in mine.replies.push_error.call_args_list]
    closes = [close.args[0] for close in mine.replies.close.call_args_list]
    assert [*errors, *closes] == [expected]


def test_relays_of_an_earlier_socket_are_refused() -> None:
    mine = parts()
    mine.room.deliver(relayed(1) | {"epoch": 0})
    mine.room.deliver(dict(messages.back("ABC123", back := peer("peer_other", epoch=1), 11)))
    with pytest.raises(StaleSocket):  # the layer reports it to the sender
        mine.room.deliver(relayed(2) | {"epoch": 0})
    mine.room.deliver(relayed(2) | {"epoch": 1})
    mine.room.deliver(relayed(3) | {"epoch": 3})  # its return was announced and lost
    with pytest.raises(StaleSocket):
        mine.room.deliver(relayed(4) | {"epoch": 2})
    mine.room.deliver(relayed(5))  # of an earlier build
    assert [frame for frame in mine.written if frame.startswith("frame")] == [
        f"frame {number} of peer_other" for number in (1, 2, 3, 5)
    ]
    assert back.epoch == mine.membership.epochs["peer_other"]


async def test_a_detached_peer_refuses_relays_of_an_earlier_socket() -> None:
    mine = parts()
    mine.membership.relay_epochs["peer_other"] = 2
    await mine.subscription.open()
    detached = mine.resumption.detach(mine.membership, [], is_abandoned=False)
    with pytest.raises(StaleSocket):
        detached.deliver(relayed(1) | {"epoch": 1})
    detached.deliver(relayed(2) | {"epoch": 2})
    assert [number for _, number, _ in detached.frames] == [2]
    detached.deliver(dict(my_return(EPOCH + 1)))
