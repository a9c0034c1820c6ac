from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
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


def test_live_counts_walk_through_nobody_who_has_left() -> None:
    plan = Room.objects.with_live_counts().explain()
    assert "signalling_one_peer_per_seat" in plan, plan


def test_my_rooms_are_the_open_ones_i_host_and_the_newest_comes_first(
    room: Room, alice: User, bob: User
) -> None:
    services.open_room(host=bob, code="OTHER")
    services.close_room(services.open_room(host=alice, code="CLOSED"))
    newest = services.open_room(host=alice, code="NEWEST")
    assert list(Room.objects.hosted_by(alice)) == [newest, room]
    assert list(Room.objects.hosted_by(AnonymousUser())) == []


def test_live_peers_are_those_who_have_not_left(
    room: Room, alice: User, bob: User, enter: Enter
) -> None:
    stays = enter(alice).participant
    services.leave(enter(bob).participant.peer_id)
    assert list(Participant.objects.live()) == [stays]
    assert list(room.participants.live()) == [stays]
