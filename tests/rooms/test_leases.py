"""Dead and retired workers, and the command ``reap_participants``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from rooms import leases, resuming, signals
from rooms.models import Participant, Room, Worker
from tests.conftest import Enter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lost() -> Iterator[list[tuple[str, str]]]:
    """The participants in ``participants_lost``: ``left`` or ``away``, and the peer ID."""
    received: list[tuple[str, str]] = []

    def receive(*, left: list[Participant], away: list[Participant], **arguments: Any) -> None:
        received.extend(("left", peer.peer_id) for peer in left)
        received.extend(("away", peer.peer_id) for peer in away)

    signals.participants_lost.connect(receive)
    yield received
    signals.participants_lost.disconnect(receive)


def expire_lease(worker_id: str) -> leases.Lease:
    """Make the lease of a worker expire. Return the lease."""
    Worker.objects.filter(pk=worker_id).update(expires_at=timezone.now() - timedelta(seconds=1))
    (lease,) = leases.read_all()
    assert lease.is_expired
    return lease


def test_resumables_of_a_dead_worker_become_away_and_the_others_leave(
    room: Room, enter: Enter, alice: User, bob: User, lost: list[tuple[str, str]]
) -> None:
    worker_id = leases.register_worker()
    other = enter(alice, room, worker_id=worker_id).participant
    resumable = enter(bob, room, worker_id=worker_id, resumable=True).participant
    elsewhere = enter(alice, room).participant
    lease = expire_lease(worker_id)
    assert leases.reap(lease) == 2
    assert leases.reap(lease) == 0  # already done
    assert lost == [("left", other.peer_id), ("away", resumable.peer_id)]
    other.refresh_from_db()
    resumable.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (other.is_live, other.reason) == (False, "server_lost")
    assert (resumable.is_away, resumable.has_gap, resumable.worker) == (
        True,
        True,
        None,
    )
    assert (elsewhere.is_live, elsewhere.is_away) == (True, False)
    # Its resume window began when its worker last renewed the lease.
    assert resumable.away_until == lease.expires_at + timedelta(seconds=30 - 6)


def test_the_peers_of_a_dead_worker_are_announced_as_they_are_now(
    room: Room, enter: Enter, alice: User, bob: User
) -> None:
    worker_id = leases.register_worker()
    enter(alice, room, worker_id=worker_id)
    enter(bob, room, worker_id=worker_id, resumable=True)
    sent: list[tuple[str, int | None, bool, bool]] = []

    def note(peer: Participant) -> None:
        sent.append((peer.reason, peer.seat, peer.is_live, peer.is_away))

    def receive_all(*, left: list[Participant], away: list[Participant], **rest: Any) -> None:
        for peer in (*left, *away):
            note(peer)

    def receive(*, participant: Participant, **rest: Any) -> None:
        note(participant)

    signals.participants_lost.connect(receive_all)
    signals.participant_left.connect(receive)
    try:
        leases.reap(expire_lease(worker_id))
    finally:
        signals.participants_lost.disconnect(receive_all)
        signals.participant_left.disconnect(receive)
    gone, away = ("server_lost", None, False, False), ("", 2, True, True)
    assert sent == [gone, away, gone]


def test_a_renewed_lease_is_not_reaped(room: Room, enter: Enter, alice: User) -> None:
    worker_id = leases.register_worker()
    enter(alice, room, worker_id=worker_id)
    lease = expire_lease(worker_id)
    assert leases.renew(worker_id)
    assert leases.reap(lease) == 0
    assert Participant.objects.live().count() == 1


def test_a_retired_worker_stores_held_frames_and_leaves_no_gap(
    room: Room, enter: Enter, alice: User, bob: User
) -> None:
    worker_id = leases.register_worker()
    resumable = enter(alice, room, worker_id=worker_id, resumable=True).participant
    enter(bob, room, worker_id=worker_id)
    assert resuming.mark_away(resumable.peer_id, epoch=0, lost_at=monotonic())
    resuming.store_held(resumable.peer_id, epoch=0, held={"frames": []})
    leases.retire(worker_id)
    resumable.refresh_from_db()
    assert (resumable.is_away, resumable.has_gap, resumable.held) == (True, False, {"frames": []})
    assert Participant.objects.live().count() == 1
    assert not Worker.objects.exists()


def test_the_peers_of_a_retired_worker_have_the_whole_resume_window(
    room: Room, enter: Enter, alice: User
) -> None:
    worker_id = leases.register_worker()
    peer = enter(alice, room, worker_id=worker_id, resumable=True).participant
    before = timezone.now()
    assert leases.retire(worker_id) == 1
    peer.refresh_from_db()
    assert peer.away_until is not None
    assert peer.away_until > before + timedelta(seconds=29)


def test_a_peer_that_is_away_already_keeps_its_deadline(
    room: Room, enter: Enter, alice: User
) -> None:
    peer = enter(alice, room, resumable=True).participant
    assert resuming.mark_away(peer.peer_id, epoch=0, lost_at=monotonic())
    peer.refresh_from_db()
    until = peer.away_until
    assert not resuming.mark_away(peer.peer_id, epoch=0, lost_at=monotonic() + 30)
    peer.refresh_from_db()
    assert peer.away_until == until


def test_a_previous_socket_cannot_change_a_membership(
    room: Room, enter: Enter, alice: User
) -> None:
    joined = enter(alice, room, resumable=True)
    assert joined.resume_token is not None
    resumed = resuming.resume(
        code=room.code, user=alice, token=joined.resume_token, channel_name="c!2", worker_id=None
    )
    assert resumed.participant.epoch == 1
    assert not resuming.mark_away(joined.participant.peer_id, epoch=0, lost_at=monotonic())
    resuming.store_held(joined.participant.peer_id, epoch=0, held={})
    row = Participant.objects.get()
    assert (row.is_live, row.is_away, row.held) == (True, False, None)


def test_reap_participants_ends_the_memberships_of_dead_workers(
    room: Room, enter: Enter, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    worker_id, alive = leases.register_worker(), leases.register_worker()
    enter(alice, room, worker_id=worker_id)
    enter(alice, room, worker_id=alive)
    Worker.objects.filter(pk=worker_id).update(expires_at=timezone.now() - timedelta(seconds=1))
    call_command("reap_participants", wait=0.1)
    assert "1 memberships of dead servers" in capsys.readouterr().out
    assert Participant.objects.live().get().worker_id == alive
    call_command("reap_participants", wait=0.1)
    assert "0 memberships" in capsys.readouterr().out
