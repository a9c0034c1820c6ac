"""The times of a site with ``USE_TZ = False``, which must be right in any ``TIME_ZONE``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms import admission, exceptions, leases, primary, resuming, services, transitions
from rooms.clock import clock, local, with_offset
from rooms.models import Participant, Room, Worker
from signalling.peers import messages
from tests.conftest import Enter

ZONES = ["America/Chicago", "Asia/Tokyo", None]
"""Time zones of sites with ``USE_TZ = False``; ``None`` for one with ``USE_TZ = True``."""


def use_zone(settings: Settings, zone: str | None) -> None:
    if zone is not None:
        settings.TIME_ZONE = zone
        settings.USE_TZ = False


def check_all_times(enter: Enter) -> None:
    """Check each time that the product writes, compares, sends or shows, in Django's database."""
    bob = User.objects.create_user("bob")
    room = services.open_room(host=bob, code="ABC123")

    # A lease, and the time that is estimated before and after the first read
    assert -20 < seconds_until(clock.now()) < 20
    worker_id = leases.register_worker()
    assert -20 < seconds_until(clock.now()) < 20
    (lease,) = leases.read_all()
    assert not lease.is_expired
    assert 0 < seconds_until(lease.expires_at) < 30

    # A seat that is away
    joined = enter(bob, room, resumable=True, worker_id=worker_id)
    peer, token = joined.participant, joined.resume_token
    assert token is not None
    assert resuming.mark_away(peer.peer_id, epoch=0, lost_at=monotonic())
    resuming.end_expired()
    peer.refresh_from_db()
    assert peer.is_away
    assert 10 < seconds_until(peer.away_until) < 50
    assert_on_the_wire(peer)
    peer = resume(bob, token).participant

    # The end of its window
    Participant.objects.update(resume_hash="hash")
    assert resuming.mark_away(peer.peer_id, epoch=1, lost_at=monotonic() - 31)
    resuming.end_expired()
    peer.refresh_from_db()
    assert (peer.is_live, peer.reason) == (False, "disconnected")

    # A worker that died, and its peers
    lost = enter(bob, room, resumable=True, worker_id=worker_id).participant
    left = enter(bob, room, worker_id=worker_id).participant
    assert leases.reap(lease) == 2
    lost.refresh_from_db()
    left.refresh_from_db()
    assert 0 < seconds_until(lost.away_until) < 50
    assert left.reason == "server_lost"

    # What people read is in the zone of the site
    for time in (room.created_at, peer.joined_at, peer.left_at, left.left_at):
        assert is_now(time), time
    leases.register_worker()
    assert is_now(Worker.objects.get().started_at)
    assert is_now(local(Worker.objects.get().expires_at))

    # The deadline of a switch
    with transitions_in(room) as locked:
        transitions.to_sfu(locked, "default", transitions.Reason.HOST, switching=True)
    message = messages.mode_changed(Room.objects.get(), "host")
    assert message["until"].endswith("+00:00")
    assert 0 < clock.seconds_until(datetime.fromisoformat(message["until"])) <= 15
    with transitions_in(room) as locked:
        transitions.to_mesh(locked, transitions.Reason.SFU_UNREACHABLE)
        assert 40 < seconds_until(locked.no_sfu_before) < 80


def resume(user: User, token: str) -> services.Joined:
    arguments: dict[str, Any] = {"channel_name": "c!2", "worker_id": None}
    joined = resuming.resume(code="ABC123", user=user, token=token, **arguments)
    # The reply was lost, so the token is valid once more; and not after a while.
    assert resuming.resume(code="ABC123", user=user, token=token, **arguments)
    rotated = joined.participant.resume_rotated_at
    assert rotated is not None
    Participant.objects.update(resume_rotated_at=rotated - timedelta(seconds=11), epoch=1)
    with pytest.raises(exceptions.ResumeInvalid):
        resuming.resume(code="ABC123", user=user, token=token, **arguments)
    return joined


def assert_on_the_wire(peer: Participant) -> None:
    """Assert that the announcement of a peer that is away has the right time, with its offset."""
    for until in (peer.away_until, clock.now() + timedelta(seconds=30)):
        assert until is not None
        sent = messages.away("ABC123", peer.peer_id, "c!1", until)
        assert '+00:00"' in sent["frame"]
        assert abs(clock.seconds_until(until) - 30) < 20


@contextmanager
def transitions_in(room: Room) -> Iterator[Room]:
    with primary.atomic():
        yield admission.lock_room(room.code, User.objects.get())


def seconds_until(time: datetime | None) -> float:
    """Return the seconds until a time of the database."""
    assert time is not None
    return (with_offset(time) - datetime.now(UTC)).total_seconds()


def is_now(time: datetime | None) -> bool:
    """Return whether a time that the site reads is that of its own clock."""
    assert time is not None
    now = datetime.now(UTC) if time.tzinfo else datetime.now()
    return abs((time - now).total_seconds()) < 20
