from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from rooms import signals
from rooms.models import Participant, Room
from tests.conftest import Enter

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The peer IDs, room codes and reasons of the signal ``participant_left``."""
    received: list[tuple[str, str, str]] = []

    def receive(*, participant: Participant, **arguments: Any) -> None:
        received.append((participant.peer_id, participant.room.code, participant.reason))

    signals.participant_left.connect(receive)
    yield received
    signals.participant_left.disconnect(receive)


@pytest.mark.parametrize("many", [True, False])
def test_deleting_a_room_ends_its_memberships(
    room: Room, bob: User, enter: Enter, left: list[Any], many: bool
) -> None:
    peer = enter(bob).participant
    closed: list[str] = []

    def receive(*, room: Room, **arguments: Any) -> None:
        closed.append(room.code)

    signals.room_closed.connect(receive)
    Room.objects.all().delete() if many else room.delete()
    signals.room_closed.disconnect(receive)
    assert left == [(peer.peer_id, "ABC123", "room_closed")]
    assert closed == ["ABC123"]
    assert not Participant.objects.exists()


@pytest.mark.parametrize("many", [True, False])
def test_deleting_a_user_ends_all_its_memberships(
    room: Room, alice: User, bob: User, enter: Enter, left: list[Any], many: bool
) -> None:
    Room.objects.create(code="OTHER")
    peers = [enter(bob).participant, enter(bob, "OTHER").participant]
    stays = enter(alice).participant
    User.objects.filter(pk=bob.pk).delete() if many else bob.delete()
    assert sorted(left) == [
        (peer.peer_id, code, "removed")
        for peer, code in zip(peers, ("ABC123", "OTHER"), strict=True)
    ]
    assert list(Participant.objects.live()) == [stays]
