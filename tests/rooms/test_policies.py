from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User

from rooms import policies
from rooms.models import Room

pytestmark = pytest.mark.django_db


def test_by_default_every_user_can_open_and_join_rooms(room: Room, bob: User) -> None:
    assert policies.can_create(bob)
    assert policies.can_join(bob, room)


def test_the_creator_of_a_room_is_its_host(room: Room, alice: User, bob: User) -> None:
    assert policies.is_host(alice, room)
    assert not policies.is_host(bob, room)


def test_is_host_is_false_for_a_room_without_a_host(alice: User) -> None:
    assert not policies.is_host(alice, Room())
    assert not policies.is_host(AnonymousUser(), Room())  # type: ignore[arg-type]


def test_user_info_contains_only_the_user_name(alice: User) -> None:
    alice.email = "alice@example.org"
    assert policies.user_info(alice) == {"username": "alice"}
