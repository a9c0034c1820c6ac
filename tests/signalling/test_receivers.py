"""Domain signals that are sent to the channel layer."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from rooms import services
from rooms.models import Participant, Room
from rooms.signals import participants_lost
from signalling.peers.messages import room_group
from tests.conftest import Enter

pytestmark = pytest.mark.django_db


async def first_message_to(room: Room, close: Any) -> Any:
    """Return the first message to the group of a room after ``close``."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(room_group(room.code), channel)
    await close()
    return await layer.receive(channel)


@pytest.mark.django_db(transaction=True)
def test_a_closed_room_is_announced_to_its_group(room: Room) -> None:
    async def close() -> None:
        await database_sync_to_async(services.close_room)(room)

    assert async_to_sync(first_message_to)(room, close) == {
        "type": "signalling.closed",
        "room": "ABC123",
        "reason": "closed",
    }


def test_a_room_can_be_closed_without_a_channel_layer(
    room: Room,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.CHANNEL_LAYERS = {}
    with django_capture_on_commit_callbacks(execute=True):
        services.close_room(room)
    assert not caplog.records
    assert not Room.objects.get().is_active


def test_a_room_can_be_closed_while_the_broker_is_unavailable(
    room: Room,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    async def fail(*arguments: object) -> None:
        raise ConnectionError("the broker is unavailable")

    monkeypatch.setattr(get_channel_layer(), "group_send", fail)
    with django_capture_on_commit_callbacks(execute=True):
        services.close_room(room)
    assert not Room.objects.get().is_active
    assert "the broker is unavailable" in caplog.text


def test_a_lost_peer_is_announced_although_another_announcement_fails(
    room: Room,
    alice: User,
    bob: User,
    enter: Enter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = []

    async def send(group: str, message: dict[str, str]) -> None:
        sent.append(message["peer_id"])
        if len(sent) == 1:
            raise ConnectionError("the broker is unavailable")

    monkeypatch.setattr(get_channel_layer(), "group_send", send)
    left = [enter(user).participant for user in (alice, bob)]
    participants_lost.send(Participant, left=left, away=[])
    assert sent == [participant.peer_id for participant in left]
    assert f"Announcement to room {room.pk} delayed" in caplog.text
    assert "ABC123" not in caplog.text
