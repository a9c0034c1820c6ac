"""The version of a room's roster: each change of a membership increments it."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms import leases, resuming, services, signals, switching
from rooms.exceptions import NotInRoom, TooManyDevices
from rooms.models import Participant, Room, Worker
from rooms.services import Joined
from tests.conftest import Enter
from tests.rooms.helpers import fill, reload
from tests.rooms.test_leases import expire_lease

pytestmark = pytest.mark.django_db(transaction=True)

Versions = list[tuple[str, int]]


@pytest.fixture
def announced() -> Iterator[Versions]:
    """The peers in the domain's signals, and the versions of the roster that they report."""
    versions: Versions = []

    def receive_one(*, participant: Participant, **rest: Any) -> None:
        versions.append((participant.peer_id, participant.roster_version))

    def receive_lost(*, left: list[Participant], away: list[Participant], **rest: Any) -> None:
        versions.extend((peer.peer_id, peer.roster_version) for peer in [*left, *away])

    def receive_surplus(*, surplus: list[Participant], **rest: Any) -> None:
        versions.extend((peer.peer_id, peer.roster_version) for peer in surplus)

    signals.participant_removed.connect(receive_one)
    signals.participants_lost.connect(receive_lost)
    signals.room_mode_changed.connect(receive_surplus)
    yield versions
    signals.participant_removed.disconnect(receive_one)
    signals.participants_lost.disconnect(receive_lost)
    signals.room_mode_changed.disconnect(receive_surplus)


def version(joined: Joined) -> int:
    """Return the version that a join or a resume has returned, in both places."""
    assert joined.room.roster_version == joined.participant.roster_version
    return joined.room.roster_version


def test_each_change_of_a_roster_increments_its_version(
    room: Room, enter: Enter, alice: User, bob: User, announced: Versions
) -> None:
    first, second = enter(alice, room, resumable=True), enter(bob, room)
    assert (version(first), version(second)) == (1, 2)
    peer_id, token = first.participant.peer_id, first.resume_token
    assert resuming.mark_away(peer_id, epoch=0, lost_at=monotonic()) == 3
    assert resuming.mark_away(peer_id, epoch=0, lost_at=monotonic()) == 0  # it is away already
    assert token is not None
    resumed = resuming.resume(
        code=room.code, user=alice, token=token, channel_name="c!2", worker_id=None
    )
    assert version(resumed) == 4
    assert services.leave(peer_id, epoch=0) == 0  # an earlier socket
    assert services.leave(peer_id, epoch=1) == 5
    services.remove_participant(second.participant)
    assert announced == [(second.participant.peer_id, 6)]
    assert reload(room).roster_version == 6


def test_a_refused_join_and_an_update_of_a_peer_change_no_version(
    small: Room, enter: Enter, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"SEATS_PER_USER": 1}
    peer = enter(bob, small).participant
    with pytest.raises(NotInRoom):
        services.update_participant("unknown", media={"audio": True})
    services.update_participant(peer.peer_id, media={"audio": True})
    with pytest.raises(TooManyDevices):
        enter(bob, small)
    assert reload(small).roster_version == 1


def test_peers_that_give_up_their_seats_leave_before_the_join(
    small: Room, enter: Enter, alice: User, bob: User, announced: Versions
) -> None:
    peers = fill(small, bob, enter, 3)
    assert version(enter(alice, small)) == 5
    assert announced == [(peers[2].peer_id, 4)]


def test_surplus_peers_and_closed_rooms_count_each_leave(
    small: Room, peers: list[Participant], announced: Versions
) -> None:
    announced.clear()
    switching.handle_sfu_loss(small.code, 1)
    assert announced == [(peers[3].peer_id, 5)]
    services.close_room(small)
    assert reload(small).roster_version == 8


def test_the_peers_of_a_dead_worker_have_consecutive_versions_in_each_room(
    room: Room, small: Room, enter: Enter, alice: User, bob: User, announced: Versions
) -> None:
    worker_id = leases.register_worker()
    resumable = enter(alice, room, worker_id=worker_id, resumable=True).participant
    left = enter(bob, room, worker_id=worker_id).participant
    elsewhere = enter(bob, small, worker_id=worker_id).participant
    leases.reap(expire_lease(worker_id))
    versions = dict(announced)
    assert versions.pop(elsewhere.peer_id) == 2
    assert versions.keys() == {resumable.peer_id, left.peer_id}
    assert sorted(versions.values()) == [3, 4]
    assert (reload(room).roster_version, reload(small).roster_version) == (4, 2)


def test_an_expired_membership_reports_its_version(
    room: Room, enter: Enter, alice: User, announced: Versions
) -> None:
    peer = enter(alice, room, resumable=True).participant
    resuming.mark_away(peer.peer_id, epoch=0, lost_at=monotonic() - 60)
    resuming.end_expired()
    assert announced == [(peer.peer_id, 3)]


def test_a_worker_that_was_declared_dead_cannot_renew_its_lease() -> None:
    worker_id = leases.register_worker()
    Worker.objects.update(is_dead=True)  # some of its rows were locked
    assert not leases.renew(worker_id)
    monitor = leases.LeaseMonitor(confirm_seconds=60.0)
    (dead,) = monitor.find_dead(leases.read_all())
    assert leases.reap(dead) == 0
    assert not Worker.objects.exists()
