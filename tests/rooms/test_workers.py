"""Dead workers and what becomes of their peers; the command that ends them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
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
    """How the lost were announced: ``left`` or ``away``, and the peer id."""
    told: list[tuple[str, str]] = []

    def receive(*, left: list[Participant], away: list[Participant], **arguments: Any) -> None:
        told.extend(("left", peer.peer_id) for peer in left)
        told.extend(("away", peer.peer_id) for peer in away)

    signals.participants_lost.connect(receive)
    yield told
    signals.participants_lost.disconnect(receive)


def died(worker_id: str) -> leases.Lease:
    """A worker whose lease has run out."""
    Worker.objects.filter(pk=worker_id).update(expires_at=timezone.now() - timedelta(seconds=1))
    (lease,) = leases.read_all()
    assert lease.is_expired
    return lease


def test_of_a_dead_worker_the_resumable_are_away_and_the_others_leave(
    room: Room, enter: Enter, alice: User, bob: User, lost: list[tuple[str, str]]
) -> None:
    worker_id = leases.register_worker()
    plain = enter(alice, room, worker_id=worker_id).participant
    keen = enter(bob, room, worker_id=worker_id, resumable=True).participant
    elsewhere = enter(alice, room).participant
    lease = died(worker_id)
    assert leases.reap(lease) == 2
    assert leases.reap(lease) == 0  # another one was quicker
    assert lost == [("left", plain.peer_id), ("away", keen.peer_id)]
    plain.refresh_from_db()
    keen.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (plain.is_live, plain.reason) == (False, "server_lost")
    assert (keen.is_away, keen.has_gap, keen.worker) == (True, True, None)
    assert (elsewhere.is_live, elsewhere.is_away) == (True, False)
    assert keen.away_until is not None
    # Its window began when its worker was last heard of.
    assert keen.away_until < timezone.now() + timedelta(seconds=30 - 10)


def test_a_lease_that_was_renewed_is_not_reaped(room: Room, enter: Enter, alice: User) -> None:
    worker_id = leases.register_worker()
    enter(alice, room, worker_id=worker_id)
    lease = died(worker_id)
    assert leases.renew(worker_id)
    assert leases.reap(lease) == 0
    assert Participant.objects.live().count() == 1


def test_who_retires_leaves_what_it_held_and_no_gap(
    room: Room, enter: Enter, alice: User, bob: User
) -> None:
    worker_id = leases.register_worker()
    keen = enter(alice, room, worker_id=worker_id, resumable=True).participant
    enter(bob, room, worker_id=worker_id)
    until = timezone.now() + timedelta(seconds=30)
    assert resuming.mark_away(keen.peer_id, epoch=0, until=until)
    resuming.store_held(keen.peer_id, epoch=0, held={"frames": []})
    leases.retire(worker_id)
    keen.refresh_from_db()
    assert (keen.is_away, keen.has_gap, keen.held) == (True, False, {"frames": []})
    assert Participant.objects.live().count() == 1
    assert not Worker.objects.exists()


def test_a_former_socket_writes_nothing(room: Room, enter: Enter, alice: User) -> None:
    joined = enter(alice, room, resumable=True)
    assert joined.resume_token is not None
    resumed = resuming.resume(
        code=room.code, user=alice, token=joined.resume_token, channel_name="c!2", worker_id=None
    )
    assert resumed.participant.epoch == 1
    until = timezone.now()
    assert not resuming.mark_away(joined.participant.peer_id, epoch=0, until=until)
    resuming.store_held(joined.participant.peer_id, epoch=0, held={})
    row = Participant.objects.get()
    assert (row.is_live, row.is_away, row.held) == (True, False, None)


def test_the_command_ends_what_dead_servers_left(
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
