from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from rooms import policies
from rooms.models import Room

pytestmark = pytest.mark.django_db


def test_by_default_any_user_may_open_and_join_rooms(room: Room, bob: User) -> None:
    assert policies.can_create(bob)
    assert policies.can_join(bob, room)


def test_the_host_is_who_created_the_room(room: Room, alice: User, bob: User) -> None:
    assert policies.is_host(alice, room)
    assert not policies.is_host(bob, room)


def test_nobody_hosts_a_room_without_a_host(alice: User) -> None:
    assert not policies.is_host(alice, Room())
    assert not policies.is_host(AnonymousUser(), Room())  # type: ignore[arg-type]


def test_others_are_told_the_name_of_a_user_and_nothing_else(alice: User) -> None:
    alice.email = "alice@example.org"
    assert policies.user_info(alice) == {"username": "alice"}
