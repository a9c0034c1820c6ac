"""When the signals of the domain are sent."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from rooms import services, signals
from rooms.exceptions import RoomError
from rooms.models import Room
from tests.conftest import Enter
from tests.rooms.helpers import Received, seats

pytestmark = pytest.mark.django_db


def test_signals_are_sent_after_the_commit(
    received: Received,
    alice: User,
    bob: User,
    enter: Enter,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        room = services.open_room(host=alice, code="TEA")
        stays = enter(alice, room).participant
        goes = enter(bob, room).participant
        services.leave(goes.peer_id)
        services.leave(goes.peer_id)
        services.close_room(room)
        services.close_room(room)
        assert received == []
    assert received == [
        ("room_opened", room),
        ("participant_joined", stays),
        ("participant_joined", goes),
        ("participant_left", goes),
        ("participant_left", stays),
        ("room_closed", room),
    ]
    reasons = [subject.reason for name, subject in received if name == "participant_left"]
    assert reasons == ["left", "room_closed"]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_join_sends_no_signal(
    room: Room, bob: User, enter: Enter, received: Received
) -> None:
    def join_and_fail() -> None:
        with transaction.atomic():
            enter(bob)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        join_and_fail()
    assert received == []
    assert seats(room) == []


def test_a_rejected_join_sends_no_signal(
    room: Room,
    bob: User,
    enter: Enter,
    received: Received,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    Room.objects.update(is_locked=True)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(RoomError):
        enter(bob)
    assert received == []


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_raises_does_not_affect_the_join(
    room: Room, bob: User, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(**arguments: object) -> None:
        raise RuntimeError("a bug of the host site")

    signals.participant_joined.connect(explode)
    try:
        assert enter(bob).participant.is_live
    finally:
        signals.participant_joined.disconnect(explode)
    assert "a bug of the host site" in caplog.text
