"""A process whose clock is wrong gives the same windows: the clock of the database decides."""

from __future__ import annotations

from datetime import datetime, timedelta
from time import monotonic

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from rooms import clock as clock_module
from rooms import exceptions, leases, resuming, services
from rooms.clock import DatabaseClock, clock
from rooms.models import Participant, Room, Worker
from tests.conftest import Enter
from tests.rooms.helpers import reconcile, record, record_all, reload

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[-60, 60], autouse=True)
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Shift the clock of this process by this many seconds, and not that of the database."""
    shift: float = request.param
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(seconds=shift))
    return shift


def seconds_left(time: datetime | None) -> float:
    """Return the seconds until ``time``, by the clock of the database."""
    assert time is not None
    return (time - Room.objects.with_now()[0].now).total_seconds()


def test_a_peer_is_away_for_the_resume_window(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob, room, resumable=True).participant
    assert resuming.mark_away(peer.peer_id, epoch=0, lost_at=monotonic() - 12)
    peer.refresh_from_db()
    assert 15 < seconds_left(peer.away_until) <= 18  # whatever the delay of the write
    resuming.end_expired()
    assert Participant.objects.live().exists()


def test_a_peer_can_resume_within_its_window_only(room: Room, bob: User, enter: Enter) -> None:
    joined = enter(bob, room, resumable=True)
    token, peer_id = joined.resume_token, joined.participant.peer_id
    assert token is not None

    def resume(token: str, user: User) -> services.Joined:
        return resuming.resume(
            code=room.code, user=user, token=token, channel_name="c!2", worker_id=None
        )

    resuming.mark_away(peer_id, epoch=0, lost_at=monotonic() - 25)
    again = resume(token, bob)
    assert resume(token, bob).participant.epoch == 2  # the reply with the new token was lost
    assert again.resume_token is not None
    rotated = Participant.objects.get().resume_rotated_at
    assert rotated is not None
    assert -5 < seconds_left(rotated) <= 0
    Participant.objects.update(resume_rotated_at=rotated - timedelta(seconds=11))
    with pytest.raises(exceptions.ResumeInvalid):
        resume(token, bob)


def test_an_expired_window_cannot_be_resumed(room: Room, bob: User, enter: Enter) -> None:
    joined = enter(bob, room, resumable=True)
    assert joined.resume_token is not None
    resuming.mark_away(joined.participant.peer_id, epoch=0, lost_at=monotonic() - 35)
    with pytest.raises(exceptions.ResumeExpired):
        resuming.resume(
            code=room.code, user=bob, token=joined.resume_token, channel_name="c", worker_id=None
        )


def test_the_peers_of_a_retired_worker_are_away_for_their_window(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    worker_id = leases.register_worker()
    peer = enter(bob, room, resumable=True, worker_id=worker_id).participant
    other = enter(alice, room, worker_id=worker_id).participant
    assert -5 < seconds_left(Worker.objects.get().started_at) <= 0
    leases.retire(worker_id)
    peer.refresh_from_db()
    other.refresh_from_db()
    assert 25 < seconds_left(peer.away_until) <= 30
    assert -5 < seconds_left(other.left_at) <= 0
    assert other.left_at is not None
    assert other.joined_at <= other.left_at


def test_a_leave_is_after_its_join(room: Room, bob: User, enter: Enter) -> None:
    peer = enter(bob, room).participant
    services.leave(peer.peer_id)
    peer.refresh_from_db()
    assert peer.left_at is not None
    assert peer.joined_at <= peer.left_at
    assert -5 < seconds_left(peer.left_at) <= 0


def test_a_switch_has_its_whole_time(small: Room, peers: list[Participant]) -> None:
    assert 10 < seconds_left(reload(small).switching_until) <= 15
    record(peers[0], 1, "failed")
    assert reload(small).is_switching
    assert reconcile() == [small]


def test_a_switch_is_decided_at_its_deadline(
    small: Room, bob: User, enter: Enter, peers: list[Participant]
) -> None:
    until = reload(small).switching_until
    assert until is not None
    Room.objects.filter(pk=small.pk).update(switching_until=until - timedelta(seconds=16))
    assert reconcile() == []
    assert 55 < seconds_left(reload(small).no_sfu_before) <= 60
    with pytest.raises(exceptions.RoomFull):
        enter(bob, small, sfu="default")


def test_a_room_is_small_for_the_whole_wait(
    small: Room, peers: list[Participant], settings: Settings
) -> None:
    settings.SIGNALLING = {"BACK_TO_MESH": True, "BACK_TO_MESH_PEERS": 2}
    record_all(peers)
    for peer in peers[:2]:
        services.leave(peer.peer_id)
    assert reconcile() == [small]
    since = reload(small).small_since
    assert since is not None
    assert -5 < seconds_left(since) <= 0
    assert reconcile() == [small]
    Room.objects.filter(pk=small.pk).update(small_since=since - timedelta(seconds=61))
    assert reconcile() == []


def test_announcements_have_the_time_of_the_database(room: Room, wrong_clock: float) -> None:
    assert abs((clock.now() - timezone.now()).total_seconds()) < 5  # not read yet
    leases.register_worker()
    assert abs(seconds_left(clock.now())) < 5
    until = clock.now() + timedelta(seconds=30)
    assert 25 < clock.seconds_until(until) <= 30
    assert clock.seconds_until(until - timedelta(seconds=31)) == 0.0


def test_the_time_that_is_left_is_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "monotonic", lambda: 1000.0)
    read = timezone.now()
    database_clock = DatabaseClock()
    database_clock.observe(read, at=999.0)
    assert database_clock.seconds_until(read + timedelta(seconds=3.45678)) == 2.457


def test_the_time_of_the_database_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    read = timezone.now()
    database_clock = DatabaseClock()
    database_clock.observe(read, at=monotonic() - 90)
    assert 90 <= (database_clock.now() - read).total_seconds() < 95
    database_clock.reset()
    assert abs((database_clock.now() - timezone.now()).total_seconds()) < 5
