"""``IS_HOST`` gives a room several hosts."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms import services, switching
from rooms.exceptions import Forbidden, RoomFull, RoomLocked, SfuUnavailable
from rooms.models import Participant, Room
from tests.conftest import Enter

pytestmark = pytest.mark.django_db


@pytest.fixture
def co_hosts(settings: Settings) -> None:
    settings.SIGNALLING = {"IS_HOST": "tests.rooms.hooks.alice_and_bob"}


def test_a_co_host_joins_a_locked_room_as_a_host(
    room: Room, bob: User, enter: Enter, co_hosts: None
) -> None:
    services.set_locked(room, True)
    assert enter(bob).participant.role == Participant.Role.HOST
    with pytest.raises(RoomLocked):
        enter(User.objects.create_user("carol"))


def test_a_co_host_may_change_the_mode(room: Room, bob: User, enter: Enter, co_hosts: None) -> None:
    enter(bob)
    with pytest.raises(SfuUnavailable):  # allowed, but there is none
        switching.set_mode("ABC123", Room.Mode.SFU, user=bob, sfu="")
    carol = User.objects.create_user("carol")
    with pytest.raises(Forbidden):
        switching.set_mode("ABC123", Room.Mode.SFU, user=carol, sfu="")


def test_a_host_takes_the_seat_of_a_member_and_never_of_another_host(
    room: Room, alice: User, bob: User, enter: Enter, co_hosts: None
) -> None:
    Room.objects.update(p2p_limit=2, topology=Room.Topology.MESH)
    host, member = enter(alice).participant, enter(User.objects.create_user("carol")).participant
    assert [one.peer_id for one in enter(bob).others] == [host.peer_id]
    member.refresh_from_db()
    assert member.reason == Participant.Reason.EVICTED
    with pytest.raises(RoomFull):
        enter(User.objects.create_user("dave"))
    assert services.list_participants("ABC123")[0].peer_id == host.peer_id


def test_the_default_is_the_user_that_opened_the_room(room: Room, bob: User, enter: Enter) -> None:
    assert enter(bob).participant.role == Participant.Role.MEMBER
