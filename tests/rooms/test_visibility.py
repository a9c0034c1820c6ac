"""What a refusal tells about a room: nothing, to a user that may not know of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from pytest_django import Settings
from rest_framework.test import APIClient

from rooms import resuming, services, visibility
from rooms.exceptions import (
    Forbidden,
    ResumeInvalid,
    RoomClosed,
    RoomError,
    RoomLocked,
    RoomNotFound,
)
from rooms.models import Room
from tests.conftest import Enter, access_token, statements

pytestmark = pytest.mark.django_db

UNKNOWN_CODE = "K7PXM2QRTB"  # looks generated
Refused = type[RoomError]


@pytest.fixture(autouse=True)
def closed_to_strangers(settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_bob"}


@pytest.fixture
def hidden(bob: User) -> Room:
    """A room with a generated code, which only bob may join."""
    return services.open_room(host=bob)


@pytest.fixture
def carol(db: None) -> User:
    return User.objects.create_user("carol")


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Refused, str, int]:
    """Return the type and the text of a refusal, and the number of its queries."""
    with statements() as queries, pytest.raises(RoomError) as refused:
        call(*args, **kwargs)
    return type(refused.value), str(refused.value), len(queries)


def resume(user: User, code: str) -> None:
    resuming.resume(code=code, user=user, token="guess", channel_name="c", worker_id=None)


@pytest.mark.parametrize("state", [{}, {"is_locked": True}, {"is_active": False}])
@pytest.mark.parametrize("entry", ["join", "resume", "find"])
def test_a_stranger_cannot_tell_a_hidden_room_from_none(
    hidden: Room, carol: User, enter: Enter, state: dict[str, bool], entry: str
) -> None:
    Room.objects.update(**state)
    entries: dict[str, Callable[[str], Any]] = {
        "join": lambda code: enter(carol, code),
        "resume": lambda code: resume(carol, code),
        "find": lambda code: services.find_room(code, carol),
    }
    answers = {refusal(entries[entry], code) for code in (hidden.code, UNKNOWN_CODE)}
    assert len(answers) == 1, answers
    assert answers.pop()[0] is RoomNotFound


def test_the_rest_api_hides_the_room_too(hidden: Room, carol: User) -> None:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(carol)}")
    hidden_answer = api.get(f"/api/rooms/{hidden.code}/")
    unknown_answer = api.get(f"/api/rooms/{UNKNOWN_CODE}/")
    assert hidden_answer.status_code == unknown_answer.status_code == 404
    assert hidden_answer.content == unknown_answer.content


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, Forbidden),
        ({"is_locked": True}, RoomLocked),
        ({"is_active": False}, RoomClosed),
    ],
)
def test_a_user_that_knows_the_room_learns_the_reason(
    hidden: Room, carol: User, enter: Enter, state: dict[str, bool], expected: Refused,
    settings: Settings,
) -> None:  # fmt: skip
    staff = User.objects.create_user("dave", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_room"))
    settings.SIGNALLING = {}
    services.leave(enter(carol, hidden.code).participant.peer_id)  # a former participant
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_bob"}
    host = User.objects.create_user("erin")
    Room.objects.update(**state, host=host)
    for user in (carol, staff, host):
        is_admitted = user == host and expected is RoomLocked
        found = refusal(enter, user, hidden.code)[0]
        assert found is (Forbidden if is_admitted else expected), user


def test_staff_without_permission_to_view_rooms_is_a_stranger(hidden: Room, enter: Enter) -> None:
    staff = User.objects.create_user("dave", is_staff=True)
    assert refusal(enter, staff, hidden.code)[0] is RoomNotFound


def test_a_user_model_without_staff_has_no_staff() -> None:
    user: Any = SimpleNamespace(has_perm=lambda permission: True)
    assert not visibility._may_view_rooms(user)


@pytest.mark.parametrize(
    ("state", "expected"), [({"is_locked": True}, RoomLocked), ({"is_active": False}, RoomClosed)]
)
def test_a_user_that_can_join_learns_the_reason(
    hidden: Room, carol: User, enter: Enter, state: dict[str, bool], expected: Refused,
    settings: Settings,
) -> None:  # fmt: skip
    settings.SIGNALLING = {}
    Room.objects.update(**state)
    assert refusal(enter, carol, hidden.code)[0] is expected
    if state == {"is_active": False}:
        assert refusal(services.find_room, hidden.code, carol)[0] is expected
    assert refusal(resume, carol, hidden.code)[0] is ResumeInvalid


@pytest.mark.parametrize(
    ("policy", "chosen", "generated"),
    [
        ("generated", Forbidden, RoomNotFound),
        ("all", RoomNotFound, RoomNotFound),
        ("none", Forbidden, Forbidden),
    ],
)
def test_the_setting_says_which_rooms_are_hidden(
    room: Room, hidden: Room, carol: User, enter: Enter, policy: str, chosen: Refused,
    generated: Refused, settings: Settings,
) -> None:  # fmt: skip
    settings.SIGNALLING = {"CAN_JOIN": "tests.rooms.hooks.only_bob", "HIDE_ROOMS": policy}
    assert refusal(enter, carol, "ABC123")[0] is chosen
    assert refusal(enter, carol, hidden.code)[0] is generated


# --- REST room detail asks CAN_JOIN -----------------------------------------------------------


def test_the_detail_of_a_room_is_for_its_host_and_users_that_may_join(
    room: Room, alice: User, bob: User, carol: User
) -> None:
    statuses = []
    for user in (alice, bob, carol):
        api = APIClient()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(user)}")
        statuses.append(api.get("/api/rooms/ABC123/").status_code)
    assert statuses == [200, 200, 403]


def test_trusted_code_finds_every_room(hidden: Room) -> None:
    assert services.find_room(hidden.code) == hidden
