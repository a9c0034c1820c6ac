from __future__ import annotations

import re
from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import User
from django.shortcuts import resolve_url
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


@pytest.mark.parametrize("path", ["/", "/?code=ABC123", "/r/ABC123/", "/login/", "/api/rooms/"])
def test_head_is_answered_like_get(signed_in: Client, room: Room, path: str) -> None:
    get, head = signed_in.get(path), signed_in.head(path)
    assert head.status_code == get.status_code < 400
    assert {*head.headers} == {*get.headers}
    assert head.content == b""


# --- Signing in -------------------------------------------------------------------------------


@pytest.mark.parametrize("login_url", ["/accounts/login/", "admin:login"])
@pytest.mark.parametrize("path", ["/", "/r/ABC123/", "/r/ABC123/?next=/a/3/"])
def test_anonymous_users_are_redirected_to_the_login_page_of_the_site_and_back(
    client: Client, room: Room, settings: Settings, path: str, login_url: str
) -> None:
    settings.LOGIN_URL = login_url
    response = client.get(path)
    assert response.status_code == 302
    page, _, query = response["Location"].partition("?")
    assert page == resolve_url(login_url)
    assert parse_qs(query) == {"next": [path]}


@pytest.mark.parametrize(
    ("login_url", "link"),
    [
        ("/sso/", "/sso/?next=/r/ABC123/"),
        ("https://sso.example.org/", "https://sso.example.org/?next=http%3A//testserver/r/ABC123/"),
    ],
)
def test_the_call_page_links_to_the_login_page_of_the_site(
    signed_in: Client, settings: Settings, login_url: str, link: str
) -> None:
    settings.LOGIN_URL = login_url
    assert f'href="{link}"' in signed_in.get("/r/ABC123/").text
    assert Client().get("/r/ABC123/")["Location"] == link


def test_an_anonymous_user_cannot_create_a_room(client: Client) -> None:
    assert client.post("/", {"name": "Tea"}).status_code == 302
    assert not Room.objects.exists()


def test_a_site_without_our_login_page_has_none_of_its_urls(alice: User) -> None:
    settings_of_site = {"ROOT_URLCONF": "tests.signalling.site_urls", "LOGIN_URL": "/sso/"}
    with override_settings(**settings_of_site):
        client = Client()
        assert client.get("/calls/login/").status_code == 404
        assert client.get("/calls/")["Location"] == "/sso/?next=/calls/"
        client.force_login(alice)
        home, call = client.get("/calls/"), client.get("/calls/r/ABC123/")
    assert home.status_code == call.status_code == 200
    assert "Sign out" not in home.text
    assert 'href="/sso/?next=/calls/r/ABC123/"' in call.text


def test_the_optional_login_page_signs_in_and_out(client: Client, alice: User) -> None:
    alice.set_password("correct horse")
    alice.save()
    page = client.get("/login/", {"next": "/r/ABC123/"})
    assert 'name="next" value="/r/ABC123/"' in page.text
    sign_in = {"username": "alice", "password": "correct horse", "next": "/r/ABC123/"}
    assert client.post("/login/", sign_in)["Location"] == "/r/ABC123/"
    assert 'action="/logout/"' in client.get("/").text
    assert client.post("/logout/")["Location"] == "/"
    assert client.get("/").status_code == 302


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


def test_users_that_may_not_open_a_room_are_not_offered_it(signed_in: Client) -> None:
    assert "Create a room" in signed_in.get("/").text
    with override_settings(SIGNALLING={"CAN_CREATE": "tests.rooms.hooks.deny"}):
        page = signed_in.get("/")
    assert page.status_code == 200
    assert "Create a room" not in page.text
    assert "Join a room" in page.text


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


# --- The call page ---------------------------------------------------------------------------


def title(client: Client, path: str) -> str:
    (found,) = re.findall("<title>(.*)</title>", client.get(path).text)
    return str(found)


def test_the_title_is_the_name_of_the_room(signed_in: Client, alice: User, bob: User) -> None:
    services.open_room(host=bob, code="TEA", name="Tea <3")
    services.open_room(host=alice, code="UNNAMED")
    assert title(signed_in, "/r/tea/") == "Tea &lt;3"
    assert "<h1>Tea &lt;3</h1>" in signed_in.get("/r/tea/").text
    assert title(signed_in, "/r/unnamed/") == "Room UNNAMED"
    assert title(signed_in, "/r/missing/") == "Room MISSING"
    assert title(signed_in, "/r/not%20a%20code/") == "Room NOT A CODE"


def test_the_title_is_no_way_to_guess_codes(
    signed_in: Client, alice: User, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 3, "CAN_JOIN": "tests.rooms.hooks.only_unnamed_rooms"}
    services.open_room(host=bob, code="SECRET", name="Secret")
    assert title(signed_in, "/r/secret/") == "Room SECRET"  # may not be joined
    settings.SIGNALLING = {"FAILURE_LIMIT": 3}
    services.open_room(host=alice, code="MINE", name="Mine")
    assert title(signed_in, "/r/secret/") == "Secret"
    for number in range(3):
        title(signed_in, f"/r/GUESS-{number}/")
    assert title(signed_in, "/r/secret/") == "Room SECRET"
    assert title(signed_in, "/r/mine/") == "Mine"


@pytest.mark.parametrize("url", ["/appointments/3/", "http://testserver/a/", "?tab=2"])
def test_users_return_to_a_page_of_the_site(signed_in: Client, url: str) -> None:
    page = signed_in.get("/r/ABC123/", {"next": url})
    assert f'data-return-url="{url}"' in page.text
    assert f'<a class="button" data-action="home" href="{url}">Back</a>' in page.text


@pytest.mark.parametrize(
    "url",
    ["", "https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"],
)
def test_users_do_not_return_to_other_sites(signed_in: Client, url: str) -> None:
    page = signed_in.get("/r/ABC123/", {"next": url})
    assert 'data-return-url=""' in page.text
    assert '<a class="button" data-action="home" href="/">Back to my rooms</a>' in page.text
