from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from pytest_django import Settings

from rooms import services
from rooms.models import Room
from tests.conftest import Enter, statements

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed_in(client: Client, alice: User) -> Client:
    """A browser in which alice is signed in."""
    client.force_login(alice)
    return client


# --- Headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/r/ABC123/", "/login/"])
def test_a_page_may_load_own_files_and_use_the_devices(
    client: Client, bob: User, path: str
) -> None:
    if path != "/login/":
        client.force_login(bob)
    response = client.get(path)
    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert response["Permissions-Policy"] == (
        "camera=(self), microphone=(self), display-capture=(self)"
    )


def test_a_page_may_load_static_files_from_their_host(client: Client) -> None:
    with override_settings(STATIC_URL="https://static.example.org/s/"):
        policy = client.get("/")["Content-Security-Policy"]
    assert "script-src 'self' https://static.example.org;" in policy


def test_a_site_can_name_the_pages_that_may_frame_a_call(
    client: Client, settings: Settings
) -> None:
    settings.SIGNALLING = {"FRAME_ANCESTORS": ["'self'", "https://portal.example.org"]}
    page = client.get("/")
    policy = page["Content-Security-Policy"]
    assert policy.endswith("; frame-ancestors 'self' https://portal.example.org; base-uri 'none'")
    assert "X-Frame-Options" not in page
    settings.SIGNALLING = {}
    assert client.get("/")["X-Frame-Options"] == "DENY"


# --- Signing in -------------------------------------------------------------------------------


def test_an_anonymous_user_sees_the_sign_in_form_and_no_rooms(client: Client, room: Room) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert 'name="password"' in page.text
    assert "ABC123" not in page.text
    assert client.post("/", {"name": "Tea"}).status_code == 200
    assert Room.objects.count() == 1


def test_the_call_page_redirects_to_the_sign_in_form_and_back(client: Client) -> None:
    response = client.get("/r/ABC123/")
    assert response.status_code == 302
    assert response["Location"] == "/login/?next=/r/ABC123/"


def test_the_sign_in_page_redirects_signed_in_users(signed_in: Client) -> None:
    assert signed_in.get("/login/")["Location"] == "/"


# --- Rooms ------------------------------------------------------------------------------------


def test_home_lists_the_users_open_rooms_with_participants(
    signed_in: Client, room: Room, alice: User, bob: User, enter: Enter
) -> None:
    services.open_room(host=bob, code="BOBS")
    services.close_room(services.open_room(host=alice, code="CLOSED"))
    enter(bob)
    page = signed_in.get("/")
    assert [found.code for found in page.context["rooms"]] == ["ABC123"]
    assert "1 in the call" in page.text


def test_home_needs_the_same_queries_for_one_room_and_for_twenty(
    signed_in: Client, room: Room, alice: User
) -> None:
    with statements() as for_one:
        signed_in.get("/")
    for _ in range(19):
        services.open_room(host=alice)
    with statements() as for_twenty:
        signed_in.get("/")
    assert len(for_one) == len(for_twenty) == 3, for_twenty  # the session, the user and the rooms


@pytest.mark.parametrize("code", ["", "tea-time"])
def test_creating_a_room_redirects_to_it(signed_in: Client, alice: User, code: str) -> None:
    response = signed_in.post("/", {"name": "Tea", "new_code": code})
    room = Room.objects.get()
    assert (room.host, room.name) == (alice, "Tea")
    assert response["Location"] == f"/r/{room.code}/"
    assert room.code == "TEA-TIME" or not code


@pytest.mark.parametrize(
    ("code", "message"), [("abc123", "is taken"), ("no way", "3 to 32 letters")]
)
def test_an_unavailable_code_is_an_error_of_its_field(
    signed_in: Client, room: Room, code: str, message: str
) -> None:
    page = signed_in.post("/", {"new_code": code})
    assert page.status_code == 400
    assert message in page.context["new_room"].errors["new_code"][0]
    assert message in page.text
    assert Room.objects.count() == 1


def test_a_policy_error_is_an_error_of_the_form(signed_in: Client) -> None:
    with override_settings(SIGNALLING={"CAN_CREATE": "tests.rooms.hooks.deny"}):
        page = signed_in.post("/", {"name": "Tea"})
    assert page.status_code == 400
    assert "not allowed" in page.text
    assert not Room.objects.exists()


def test_the_page_explains_what_to_do_about_too_many_rooms(signed_in: Client, room: Room) -> None:
    with override_settings(SIGNALLING={"OPEN_ROOMS": 1}):
        page = signed_in.post("/", {"name": "Coffee", "new_code": "coffee"})
    assert page.status_code == 400
    assert "ask an administrator" in page.text
    assert Room.objects.count() == 1


@pytest.mark.parametrize(("count", "listed"), [(50, 50), (51, 50)])
def test_home_lists_the_newest_rooms(
    signed_in: Client, alice: User, count: int, listed: int
) -> None:
    Room.objects.bulk_create(Room(code=f"ROOM-{number}", host=alice) for number in range(count))
    page = signed_in.get("/")
    assert page.text.count("/r/ROOM-") == listed
    assert ("your newest rooms" in page.text) == (count > listed)
    assert list(page.context["rooms"]) == list(Room.objects.hosted_by(alice)[:listed])


# --- Joining by code -------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["abc123", " ABC123 "])
def test_a_code_redirects_to_its_page(signed_in: Client, code: str) -> None:
    assert signed_in.get("/", {"code": code})["Location"] == "/r/ABC123/"


@pytest.mark.parametrize("code", ["", "ab", "no way", "x" * 33])
def test_an_invalid_code_is_an_error(signed_in: Client, code: str) -> None:
    page = signed_in.get("/", {"code": code})
    assert page.status_code == 400
    assert page.context["code_form"].errors


def test_the_call_page_is_the_same_for_every_code(signed_in: Client, room: Room) -> None:
    for code in ("ABC123", "abc124"):
        page = signed_in.get(f"/r/{code}/")
        assert page.status_code == 200
        assert f'data-room-code="{code.upper()}"' in page.text
    assert signed_in.post("/r/ABC123/").status_code == 405
