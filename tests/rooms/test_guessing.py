"""Guesses at room codes: which ones count, and which are refused."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from rooms import guessing, services
from rooms.exceptions import CodeTaken, RateLimited, RoomClosed, RoomNotFound
from rooms.models import Room
from tests.conftest import Enter, access_token

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stopped_time")]

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def strict(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2}


@pytest.fixture
def carol(db: None) -> User:
    return User.objects.create_user("carol")


def find(user: User, code: str, address: str = HERE) -> Room:
    return guessing.guess(services.find_room, code=code, user=user, address=address)


def choose(user: User, code: str | None, address: str = HERE) -> None:
    with guessing.throttle_chosen_code(code, user=user, address=address):
        services.open_room(host=user, code=code)


def guess_until_refused(user: User, address: str = HERE) -> None:
    for number in range(2):
        with pytest.raises(RoomNotFound):
            find(user, f"GUESS{number}", address)


def api(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(user)}")
    return client


def test_a_guesser_over_the_limit_learns_nothing(room: Room, bob: User) -> None:
    guess_until_refused(bob)
    answers = set()
    for code in ("ABC123", "ABC124"):
        with pytest.raises(RateLimited) as refused:
            find(bob, code)
        answers.add((str(refused.value), tuple(refused.value.details.items())))
    assert len(answers) == 1  # the same for a right code and for a wrong one


def test_the_limit_of_a_user_holds_on_every_address(room: Room, bob: User) -> None:
    guess_until_refused(bob)
    with pytest.raises(RateLimited):
        find(bob, "ABC123", ELSEWHERE)


def test_an_honest_user_at_the_address_of_guessers_is_never_refused(
    room: Room, bob: User, carol: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2, "SHARED_FAILURE_LIMIT": 2}
    guess_until_refused(bob)
    for _ in range(158):
        assert find(carol, "ABC123") == room


def test_a_room_that_the_user_knows_is_never_refused(
    room: Room, alice: User, bob: User, carol: User, enter: Enter
) -> None:
    services.leave(enter(bob).participant.peer_id)
    carol.is_staff = carol.is_superuser = True
    for user in (alice, bob, carol):  # the host, a former participant, the staff
        guess_until_refused(user)
        for _ in range(3):
            assert find(user, " abc123 ") == room


def test_a_malformed_code_is_no_guess(room: Room, bob: User) -> None:
    for _ in range(5):
        for code in ("no way", "\0", "é" * 5, ""):
            with pytest.raises(RoomNotFound):
                find(bob, code)
    assert find(bob, "ABC123") == room


def test_other_refusals_do_not_count(room: Room, bob: User, settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    Room.objects.update(is_active=False)
    for _ in range(3):
        with pytest.raises(RoomClosed):
            find(bob, "ABC123")


# --- Chosen codes -----------------------------------------------------------------------------


def test_a_taken_code_counts_as_a_guess(room: Room, bob: User) -> None:
    for _ in range(2):
        with pytest.raises(CodeTaken):
            choose(bob, "ABC123")
    for code in ("ABC123", "FREE"):
        with pytest.raises(RateLimited):
            choose(bob, code)
    with pytest.raises(RateLimited):
        find(bob, "ABC123")
    choose(bob, None)  # a generated code is not a chosen one


def test_chosen_codes_are_refused_after_other_guesses(room: Room, bob: User) -> None:
    guess_until_refused(bob)
    with pytest.raises(RateLimited):
        choose(bob, "ABC123")


def test_choosing_the_code_of_an_own_room_does_not_count(room: Room, alice: User) -> None:
    for _ in range(5):
        with pytest.raises(CodeTaken):
            choose(alice, "abc123")


def test_a_free_code_counts_only_if_it_looks_generated(bob: User) -> None:
    for number in range(5):
        choose(bob, f"TEAM-{number}")
    for code in ("K7PXM2QRTB", "K7PXM2QRTC"):
        choose(bob, code)
    with pytest.raises(RateLimited):
        choose(bob, "TEAM-6")


# --- The entry points -------------------------------------------------------------------------


def test_all_entry_points_count_together(
    room: Room, bob: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()  # all within the first delay, of one second
    clock = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    for module in ("rooms.failures", "django.core.cache.backends.locmem"):
        monkeypatch.setattr(f"{module}.time", clock)
    client.force_login(bob)
    assert client.post("/", {"new_code": "abc123"}).status_code == 400
    assert api(bob).get("/api/rooms/WRONG1/").status_code == 404
    refused: list[Any] = [
        api(bob).get("/api/rooms/ABC123/"),
        api(bob).get("/api/rooms/WRONG2/"),
        api(bob).post("/api/rooms/", {"code": "ABC123"}),
        api(bob).post("/api/rooms/", {"code": "FREE"}),
        client.post("/", {"new_code": "ABC123"}),
    ]
    assert [response.status_code for response in refused] == [429] * 5
    assert [response["Retry-After"] for response in refused] == ["1"] * 5
    assert {response.json()["code"] for response in refused[:4]} == {"rate_limited"}
    assert refused[0].content == refused[1].content
    assert "Too many failed attempts" in refused[4].text
    assert api(bob).post("/api/rooms/", {}).status_code == 201
