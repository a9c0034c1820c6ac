"""Fixtures for the tests of the domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoCaptureOnCommitCallbacks

from rooms import signals
from rooms.models import Participant, Room
from tests.conftest import Enter
from tests.rooms.helpers import Changes, Received, fill

NAMES = ("room_opened", "room_closed", "participant_joined", "participant_left")


@pytest.fixture
def received() -> Iterator[Received]:
    """The signals that the domain sent, in order: their names and subjects."""
    sent: Received = []
    receivers = []
    for name in NAMES:

        def receive(*, name: str = name, **arguments: Any) -> None:
            sent.append((name, arguments.get("room") or arguments.get("participant")))

        receivers.append((getattr(signals, name), receive))
        getattr(signals, name).connect(receive)
    yield sent
    for signal, receiver in receivers:
        signal.disconnect(receiver)


@pytest.fixture
def small(alice: User) -> Room:
    """A room for three peers in a mesh and five in all; alice is its host."""
    return Room.objects.create(code="SMALL", host=alice, p2p_limit=3, total_limit=5)


@pytest.fixture
def peers(small: Room, bob: User, enter: Enter) -> list[Participant]:
    """Four peers in ``small``. The fourth made it switch to the SFU."""
    return [*fill(small, bob, enter, 3), *fill(small, bob, enter, 1, sfu="default")]


@pytest.fixture
def changes(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Iterator[Changes]:
    """The changes of mode that were announced: mode, version, reason and surplus peer IDs.

    Filled at the end of a ``with django_capture_on_commit_callbacks(execute=True)``.
    """
    sent: Changes = []

    def receive(*, room: Room, reason: str, surplus: list[Participant], **rest: Any) -> None:
        sent.append((room.mode, room.mode_version, reason, [peer.peer_id for peer in surplus]))

    signals.room_mode_changed.connect(receive)
    yield sent
    signals.room_mode_changed.disconnect(receive)
