from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from rooms import services
from rooms.models import Participant, Room
from tests.conftest import Enter

pytestmark = pytest.mark.django_db


def test_live_counts_leave_out_who_has_left(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    Room.objects.create(code="EMPTY")
    enter(alice)
    services.leave(enter(bob).participant.peer_id)
    counts = {room.code: room.live_count for room in Room.objects.with_live_counts()}
    assert counts == {"ABC123": 1, "EMPTY": 0}


def test_live_counts_cost_one_query(
    room: Room, alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Room.objects.bulk_create(Room(code=f"ROOM-{number}") for number in range(20))
    with django_assert_num_queries(1):
        assert len(Room.objects.with_live_counts()) == 21


def test_live_peers_are_those_who_have_not_left(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    stays = enter(alice).participant
    services.leave(enter(bob).participant.peer_id)
    assert list(Participant.objects.live()) == [stays]
    assert list(room.participants.live()) == [stays]
