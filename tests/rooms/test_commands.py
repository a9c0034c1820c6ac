from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from rooms import services
from rooms.models import Room, Worker

pytestmark = pytest.mark.django_db


def create_room(*arguments: str) -> str:
    out = StringIO()
    call_command("create_room", *arguments, stdout=out)
    return out.getvalue().strip()


def test_create_room_prints_the_code() -> None:
    code = create_room()
    room = Room.objects.get(code=code)
    assert len(code) == 10
    assert (room.host, room.name) == (None, "")


def test_code_name_and_host_can_be_chosen(alice: User) -> None:
    assert create_room("--code", "tea", "--name", "Tea", "--host", "alice") == "TEA"
    room = Room.objects.get(code="TEA")
    assert (room.host, room.name) == (alice, "Tea")


def test_the_limit_of_open_rooms_does_not_apply(alice: User, settings: Settings) -> None:
    settings.SIGNALLING = {"OPEN_ROOMS": 1}
    for _ in range(2):
        create_room("--host", "alice")
    assert Room.objects.hosted_by(alice).count() == 2


def test_a_taken_code_is_an_error(room: Room) -> None:
    with pytest.raises(CommandError, match="taken"):
        create_room("--code", "abc123")


def test_exist_ok_accepts_a_taken_code(room: Room) -> None:
    assert create_room("--code", "abc123", "--name", "New", "--exist-ok") == "ABC123"
    assert Room.objects.get().name == "Tea"


def test_exist_ok_accepts_the_code_of_a_closed_room(room: Room) -> None:
    services.close_room(room)
    assert create_room("--code", "abc123", "--exist-ok") == "ABC123"


def test_a_malformed_code_is_an_error() -> None:
    with pytest.raises(CommandError, match="3 to 32 letters"):
        create_room("--code", "no way")


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(CommandError, match="no user 'carol'"):
        create_room("--host", "carol")


def test_reap_participants_waits_for_two_renewals(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SIGNALLING = {"LEASE_RENEWAL": 5}
    waits: list[float] = []
    monkeypatch.setattr("rooms.management.commands.reap_participants.sleep", waits.append)
    call_command("reap_participants", stdout=StringIO())
    assert waits == [], "no lease has expired"
    Worker.objects.create(name="dead", expires_at=timezone.now() - timedelta(seconds=1))
    call_command("reap_participants", stdout=StringIO())
    call_command("reap_participants", wait=3.0, stdout=StringIO())
    assert waits == [10, 3]
