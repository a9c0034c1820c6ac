"""Resuming a membership: the token, its user, and the policies."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms import admission, exceptions, resuming, services
from rooms.models import Participant, Room
from rooms.services import Joined
from tests.conftest import Enter

pytestmark = pytest.mark.django_db


@pytest.fixture
def joined(room: Room, bob: User, enter: Enter) -> Joined:
    """A resumable membership of bob in the room ABC123."""
    return enter(bob, room, resumable=True)


def resume(joined: Joined, user: User, **options: Any) -> Joined:
    arguments = {"token": joined.resume_token, "channel_name": "channel!new", "worker_id": None}
    return resuming.resume(code="ABC123", user=user, **arguments | options)


def assert_unchanged(joined: Joined) -> None:
    """Assert that an attempt to resume a membership has changed nothing."""
    participant = Participant.objects.get()
    assert (participant.epoch, participant.channel_name) == (0, joined.participant.channel_name)
    assert participant.resume_hash == services.digest(str(joined.resume_token))


def test_its_user_resumes_a_membership(joined: Joined, bob: User) -> None:
    resumed = resume(joined, bob)
    assert resumed.participant.pk == joined.participant.pk
    assert (resumed.participant.epoch, resumed.participant.channel_name) == (1, "channel!new")


def test_another_users_resume_token_is_invalid(joined: Joined, alice: User) -> None:
    with pytest.raises(exceptions.ResumeInvalid):
        resume(joined, alice)
    assert_unchanged(joined)


def test_the_previous_token_of_another_user_is_invalid(
    joined: Joined, alice: User, bob: User
) -> None:
    resume(joined, bob)
    with pytest.raises(exceptions.ResumeInvalid):
        resume(joined, alice)
    assert Participant.objects.get().epoch == 1


def test_a_token_of_another_room_is_invalid(joined: Joined, bob: User) -> None:
    services.open_room(host=bob, code="OTHER")
    with pytest.raises(exceptions.ResumeInvalid):
        resuming.resume(
            code="OTHER",
            user=bob,
            token=str(joined.resume_token),
            channel_name="channel!new",
            worker_id=None,
        )
    assert_unchanged(joined)


def test_a_resume_asks_can_join(joined: Joined, bob: User, room: Room, settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_unnamed_rooms"}
    with pytest.raises(exceptions.Forbidden):
        resume(joined, bob)
    assert_unchanged(joined)
    Room.objects.update(name="")
    assert resume(joined, bob).participant.epoch == 1


def test_a_user_may_stay_in_a_room_as_long_as_can_join_admits_it(
    room: Room, bob: User, settings: Settings
) -> None:
    assert admission.may_stay("ABC123", bob)
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_unnamed_rooms"}
    assert not admission.may_stay("ABC123", bob)
    services.close_room(room)  # its peers leave for another reason
    assert admission.may_stay("ABC123", bob)
    assert admission.may_stay("NONE", bob)


@pytest.mark.parametrize("epoch", [0, 1])
def test_only_the_current_socket_of_a_peer_ends_it(joined: Joined, bob: User, epoch: int) -> None:
    peer_id = joined.participant.peer_id
    stale = list(Participant.objects.select_related("room"))
    resume(joined, bob)
    if epoch == 0:
        resuming._end(stale, "removed")
        resuming.end_revoked(peer_id, epoch=0, reason="removed")
    else:
        resuming.end_revoked(peer_id, epoch=1, reason="removed")
    assert Participant.objects.get().reason == ("removed" if epoch else "")
