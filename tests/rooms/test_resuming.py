"""Resuming a membership: the token, its user, and the policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.dispatch import Signal
from django.utils import timezone
from pytest_django import Settings

from rooms import admission, exceptions, leases, resuming, services, signals
from rooms.digests import digest
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
    assert participant.resume_hash == digest(str(joined.resume_token))


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


def test_a_user_may_stay_in_a_room_as_long_as_can_stay_allows_it(
    room: Room, bob: User, settings: Settings
) -> None:
    assert admission.may_stay("ABC123", bob)
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_unnamed_rooms"}
    assert admission.may_stay("ABC123", bob)  # joined while the rule was another one
    settings.SIGNALLING = {"CAN_STAY": "tests.rooms.hooks.only_unnamed_rooms"}
    assert not admission.may_stay("ABC123", bob)
    services.close_room(room)  # its peers leave for another reason
    assert admission.may_stay("ABC123", bob)
    assert admission.may_stay("NONE", bob)


@pytest.mark.parametrize("epoch", [0, 1])
def test_only_the_current_socket_of_a_peer_ends_it(joined: Joined, bob: User, epoch: int) -> None:
    peer_id = joined.participant.peer_id
    resume(joined, bob)
    resuming.end_revoked(peer_id, epoch=epoch, reason="removed")
    assert Participant.objects.get().reason == ("removed" if epoch else "")


@contextmanager
def connected(signal: Signal, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


# --- What the next socket needs -----------------------------------------------------------------


def state(resumed: Joined) -> tuple[str | None, object, bool]:
    """Return the previous channel, the stored frames, and whether messages were lost."""
    assert resumed.resumed is not None
    return resumed.resumed.previous_channel, resumed.resumed.held, resumed.resumed.gap


def test_the_frames_are_at_the_previous_channel_of_a_worker(
    room: Room, bob: User, enter: Enter
) -> None:
    joined = enter(bob, room, resumable=True, worker_id=leases.register_worker())
    channel = joined.participant.channel_name
    assert state(resume(joined, bob)) == (channel, None, False)


@pytest.mark.parametrize("has_worker", [True, False])
def test_stored_frames_are_returned_once(
    room: Room, bob: User, enter: Enter, has_worker: bool
) -> None:
    worker_id = leases.register_worker() if has_worker else None
    joined = enter(bob, room, resumable=True, worker_id=worker_id)
    peer_id = joined.participant.peer_id
    assert resuming.store_held(peer_id, epoch=0, held={"frames": []})
    again = resume(joined, bob)
    assert not resuming.store_held(peer_id, epoch=0, held={"frames": []}), "it is elsewhere now"
    assert state(again) == (None, {"frames": []}, False)
    assert state(resume(again, bob)) == (None, None, False)


def test_a_gap_is_returned_once(joined: Joined, bob: User) -> None:
    resuming.mark_away(joined.participant.peer_id, epoch=0, lost_at=monotonic(), gap=True)
    again = resume(joined, bob)
    assert state(again) == (None, None, True)
    assert state(resume(again, bob)) == (None, None, False)


def test_the_previous_token_is_valid_for_the_time_of_a_lost_reply(
    joined: Joined, bob: User
) -> None:
    resume(joined, bob)
    again = resume(joined, bob)  # as if the reply with the new token had been lost
    assert state(again)[2], "messages after that reply may have been lost too"
    long_ago = timezone.now() - timedelta(seconds=resuming.REPLY_SECONDS + 1)
    Participant.objects.update(resume_rotated_at=long_ago)
    with pytest.raises(exceptions.ResumeInvalid):
        resume(joined, bob)
    assert resume(again, bob).participant.epoch == 3


def test_only_peers_whose_window_has_passed_are_ended(
    room: Room,
    alice: User,
    bob: User,
    enter: Enter,
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]],
) -> None:
    late, early = enter(bob, room, resumable=True), enter(alice, room, resumable=True)
    for peer, seconds in ((late, 31), (early, 0)):
        lost_at = monotonic() - seconds
        resuming.mark_away(peer.participant.peer_id, epoch=0, lost_at=lost_at)
    lost: list[Participant] = []
    left_at: list[object] = []

    def receive(sender: object, *, left: list[Participant], **kwargs: object) -> None:
        lost.extend(left)

    def receive_one(sender: object, *, participant: Participant, **kwargs: object) -> None:
        left_at.append(participant.left_at)

    with (
        connected(signals.participants_lost, receive),
        connected(signals.participant_left, receive_one),
        django_capture_on_commit_callbacks(execute=True),
    ):
        resuming.end_expired()
        resuming.end_expired()
    assert left_at == [Participant.objects.get(peer_id=late.participant.peer_id).left_at]
    assert [(peer.peer_id, peer.reason) for peer in lost] == [
        (late.participant.peer_id, Participant.Reason.DISCONNECTED)
    ]
    assert Participant.objects.live().get().peer_id == early.participant.peer_id
    with pytest.raises(exceptions.ResumeExpired):
        resume(late, bob)
    assert resume(early, alice).participant.epoch == 1


def test_a_peer_whose_window_has_passed_cannot_resume_before_it_is_ended(
    joined: Joined, bob: User
) -> None:
    resuming.mark_away(joined.participant.peer_id, epoch=0, lost_at=monotonic() - 31)
    with pytest.raises(exceptions.ResumeExpired):
        resume(joined, bob)
