"""What a worker reads to reconcile its sockets with the database."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User

from rooms import leases, reconciling, resuming, services, signals
from rooms.models import Participant, Room
from tests.conftest import Enter, statements
from tests.rooms.helpers import fill

pytestmark = pytest.mark.django_db(transaction=True)


def test_each_read_is_one_statement_for_any_number_of_rooms_and_peers(
    room: Room, small: Room, enter: Enter, alice: User, bob: User
) -> None:
    worker_id = leases.register_worker()
    peers = [*fill(room, bob, enter, 3), *fill(small, bob, enter, 2, worker_id=worker_id)]
    services.leave(peers[1].peer_id)
    codes = [room.code, small.code, "EMPTY"]
    with statements() as queries:
        rosters = reconciling.read_rosters(codes)
        rooms = {found.code: found for found in reconciling.read_rooms(codes)}
        mine = reconciling.read_rows_of_worker(worker_id)
        rows = reconciling.read_rows([peer.peer_id for peer in peers])
    assert len(queries) == 4, queries
    assert {code: len(found.participants) for code, found in rosters.items()} == {
        room.code: 2,
        small.code: 2,
    }
    assert rosters[room.code].room.roster_version == rooms[room.code].roster_version == 4
    assert (rooms[room.code].live_count, rooms[small.code].live_count) == (2, 2)
    assert {row.peer_id for row in mine} == {peer.peer_id for peer in peers[3:]}
    assert [row.peer_id for row in rows if not row.is_live] == [peers[1].peer_id]


@pytest.fixture
def lost() -> Iterator[list[tuple[str, int]]]:
    received: list[tuple[str, int]] = []

    def receive(*, left: list[Participant], away: list[Participant], **rest: Any) -> None:
        received.extend((peer.peer_id, peer.roster_version) for peer in [*left, *away])

    signals.participants_lost.connect(receive)
    yield received
    signals.participants_lost.disconnect(receive)


@pytest.mark.parametrize("may_resume", [False, True])
def test_a_membership_without_a_socket_is_released_and_announced_once(
    room: Room, enter: Enter, bob: User, lost: list[tuple[str, int]], may_resume: bool
) -> None:
    peer = enter(bob, room, resumable=True).participant
    reconciling.release(peer.peer_id, epoch=1, may_resume=may_resume)  # a later socket has it
    assert lost == []
    for _ in range(2):
        reconciling.release(peer.peer_id, epoch=0, may_resume=may_resume)
    assert lost == [(peer.peer_id, 2)]
    peer.refresh_from_db()
    assert (peer.is_live, peer.is_away, peer.has_gap) == (may_resume, may_resume, may_resume)


def test_only_a_peer_that_has_resumed_before_may_have_a_token_without_an_answer(
    room: Room, enter: Enter, bob: User
) -> None:
    joined = enter(bob, room, resumable=True)
    (row,) = reconciling.read_rows([joined.participant.peer_id])
    assert not row.may_resume
    assert joined.resume_token is not None
    resuming.mark_away(joined.participant.peer_id, epoch=0, lost_at=monotonic())
    resuming.resume(
        code=room.code, user=bob, token=joined.resume_token, channel_name="c!2", worker_id=None
    )
    (row,) = reconciling.read_rows([joined.participant.peer_id])
    assert row.may_resume
