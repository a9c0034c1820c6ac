from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from rooms import services
from rooms.models import Room
from tests.conftest import PASSWORD, Enter, access_token, statements

pytestmark = pytest.mark.django_db

KEYS = {"code", "roomId", "name", "topology", "mode", "participants", "limit", "isLocked"}
OUR_CLIENT = "http://localhost:5173"


@pytest.fixture
def api(bob: User) -> APIClient:
    """A client that has nothing but a token of bob's."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(bob)}")
    return client


@pytest.fixture
def stranger() -> APIClient:
    return APIClient()


def open_room(api: APIClient, **wish: object) -> Any:
    return api.post("/api/rooms/", wish, format="json")


# --- Tokens -----------------------------------------------------------------------------------


def test_a_password_gives_tokens_and_a_token_opens_doors(stranger: APIClient, bob: User) -> None:
    answer = stranger.post("/api/token/", {"username": "bob", "password": PASSWORD})
    assert answer.status_code == 200
    assert set(answer.json()) == {"access", "refresh"}
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
    assert stranger.get("/api/rooms/").status_code == 200


def test_a_refresh_token_gives_a_new_access_token_and_is_none_itself(
    stranger: APIClient, bob: User
) -> None:
    tokens = stranger.post("/api/token/", {"username": "bob", "password": PASSWORD}).json()
    answer = stranger.post("/api/token/refresh/", {"refresh": tokens["refresh"]})
    assert answer.status_code == 200
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
    assert stranger.get("/api/rooms/").status_code == 200
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['refresh']}")
    assert stranger.get("/api/rooms/").status_code == 401


def test_a_wrong_password_gives_nothing(stranger: APIClient, bob: User) -> None:
    answer = stranger.post("/api/token/", {"username": "bob", "password": "wrong"})
    assert answer.status_code == 401
    assert "access" not in answer.json()


def test_a_new_password_ends_the_tokens_of_the_old_one(api: APIClient, bob: User) -> None:
    bob.set_password("another horse")
    bob.save()
    assert api.get("/api/rooms/").status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"user_id": "abc"},
        {"user_id": {}},
        {"user_id": []},
        {"user_id": "\0"},
        {"user_id": 10**40},
        {"user_id": 987654},
        {"exp": 1e300},
        {"exp": "soon"},
        {"exp": None},
    ],
)
@pytest.mark.parametrize("kind", [AccessToken, RefreshToken])
def test_a_signed_token_with_odd_claims_is_refused_and_no_server_error(
    stranger: APIClient, bob: User, kind: type[Token], claims: dict[str, Any]
) -> None:
    token: Any = kind.for_user(bob)
    token.payload.update(claims)
    if kind is AccessToken:
        stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        answer = stranger.get("/api/rooms/")
    else:
        answer = stranger.post("/api/token/refresh/", {"refresh": str(token)})
        if answer.status_code == 200:  # SimpleJWT looks for no user where the id is empty
            assert not claims["user_id"]
            stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access']}")
            answer = stranger.get("/api/rooms/")
    assert answer.status_code == 401


@pytest.mark.parametrize("deleted", [True, False])
def test_the_refresh_token_of_who_is_no_longer_a_user_gives_nothing(
    stranger: APIClient, bob: User, deleted: bool
) -> None:
    refresh = str(RefreshToken.for_user(bob))
    if deleted:
        bob.delete()
    else:
        User.objects.update(is_active=False)
    answer = stranger.post("/api/token/refresh/", {"refresh": refresh})
    assert answer.status_code == 401
    assert "access" not in answer.json()


@pytest.mark.parametrize("path", ["/api/rooms/", "/api/token/refresh/"])
def test_a_database_that_is_away_is_no_invalid_token(
    api: APIClient, bob: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise OperationalError("away")

    refresh = str(RefreshToken.for_user(bob))
    monkeypatch.setattr("django.contrib.auth.models.User.objects.get", away)
    with pytest.raises(OperationalError):
        api.post(path, {"refresh": refresh})


def test_who_tries_many_passwords_is_slowed_down(stranger: APIClient, bob: User) -> None:
    guess = {"username": "bob", "password": "wrong"}
    codes = [stranger.post("/api/token/", guess).status_code for _ in range(31)]
    assert codes == [401] * 30 + [429]


# --- Opening rooms ----------------------------------------------------------------------------


def test_any_user_opens_a_room_and_is_its_host(api: APIClient, bob: User) -> None:
    answer = open_room(api, name="Tea")
    room = Room.objects.get()
    assert answer.status_code == 201
    assert answer.json() == {
        "code": room.code,
        "roomId": f"room_{room.code.lower()}",
        "name": "Tea",
        "topology": "auto",
        "mode": "p2p",
        "participants": 0,
        "limit": 10,
        "isLocked": False,
    }
    assert room.host == bob


@pytest.mark.parametrize("wish", [{}, {"code": None}, {"code": ""}, {"name": ""}])
def test_a_room_needs_no_wishes(api: APIClient, wish: dict[str, object]) -> None:
    answer = open_room(api, **wish)
    assert answer.status_code == 201
    assert len(answer.json()["code"]) == 10


def test_a_code_may_be_chosen(api: APIClient) -> None:
    answer = open_room(api, code="tea-time")
    assert answer.status_code == 201
    assert answer.json()["code"] == "TEA-TIME"
    assert answer.json()["roomId"] == "room_tea-time"


@pytest.mark.parametrize("code", ["ABC123", "abc123"])
def test_a_taken_code_is_a_conflict(api: APIClient, room: Room, code: str) -> None:
    answer = open_room(api, code=code)
    assert answer.status_code == 409
    assert answer.json() == {
        "code": "code_taken",
        "detail": "This room code is taken; choose another one.",
    }


@pytest.mark.parametrize("code", ["no way", "ab", "A" * 33, "té-té"])
def test_a_code_of_another_form_is_a_bad_request(api: APIClient, code: str) -> None:
    answer = open_room(api, code=code)
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert not Room.objects.exists()


@pytest.mark.parametrize("wish", [{"name": "x" * 101}, {"code": [1]}])
def test_a_wish_of_the_wrong_type_or_size_is_a_bad_request(
    api: APIClient, wish: dict[str, Any]
) -> None:
    answer = open_room(api, **wish)
    assert answer.status_code == 400
    assert set(answer.json()) == set(wish)
    assert not Room.objects.exists()


def test_a_body_that_is_no_object_is_a_bad_request(api: APIClient) -> None:
    assert api.post("/api/rooms/", [1], format="json").status_code == 400
    broken = api.post("/api/rooms/", "{", content_type="application/json")
    assert broken.status_code == 400


def test_a_policy_may_forbid_it(api: APIClient, settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_CREATE": "tests.rooms.hooks.nobody"}
    answer = open_room(api)
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"


@pytest.mark.parametrize("path", ["/api/rooms/", "/api/rooms/ABC123/"])
def test_a_stranger_gets_nothing(stranger: APIClient, room: Room, path: str) -> None:
    assert stranger.get(path).status_code == 401
    assert stranger.post(path, {}).status_code == 401


def test_a_session_opens_rooms_too_and_needs_its_csrf_token(bob: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(bob)
    assert client.get("/api/rooms/").status_code == 200
    assert client.post("/api/rooms/", {}).status_code == 403


# --- Looking at rooms -------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ABC123", "abc123", "Abc123"])
def test_a_room_is_found_by_its_code_in_any_case(
    api: APIClient, room: Room, alice: User, enter: Enter, code: str
) -> None:
    enter(alice)
    answer = api.get(f"/api/rooms/{code}/")
    assert answer.status_code == 200
    assert set(answer.json()) == KEYS
    assert answer.json() == {
        "code": "ABC123",
        "roomId": "room_abc123",
        "name": "Tea",
        "topology": "auto",
        "mode": "p2p",
        "participants": 1,
        "limit": 10,
        "isLocked": False,
    }


@pytest.mark.parametrize("code", ["ABC124", "no way", "%00", "ü"])
def test_a_room_that_is_not_there_is_not_found(api: APIClient, room: Room, code: str) -> None:
    answer = api.get(f"/api/rooms/{code}/")
    assert answer.status_code == 404
    assert answer.json()["code"] == "room_not_found"


def test_a_lock_and_the_mode_of_a_room_are_told(api: APIClient, room: Room) -> None:
    Room.objects.update(is_locked=True, mode="sfu")
    answer = api.get("/api/rooms/ABC123/").json()
    assert (answer["isLocked"], answer["mode"], answer["limit"]) == (True, "sfu", 50)


def test_looking_at_a_room_is_two_statements(api: APIClient, room: Room) -> None:
    with statements() as said:
        api.get("/api/rooms/ABC123/")
    assert len(said) == 2, said  # who asks, and the room


def test_my_rooms_are_listed_and_nobody_elses(api: APIClient, room: Room, bob: User) -> None:
    for code in ("FIRST", "SECOND"):
        services.open_room(host=bob, code=code)
    answer = api.get("/api/rooms/")
    assert [found["code"] for found in answer.json()["results"]] == ["SECOND", "FIRST"]
    assert all(set(found) == KEYS for found in answer.json()["results"])


def test_a_closed_room_is_gone_and_not_among_mine(api: APIClient, bob: User) -> None:
    services.close_room(services.open_room(host=bob, code="TEA"))
    answer = api.get("/api/rooms/tea/")
    assert answer.status_code == 410
    assert answer.json()["code"] == "room_closed"
    assert api.get("/api/rooms/").json()["results"] == []


def test_my_rooms_come_in_pages(api: APIClient, bob: User) -> None:
    Room.objects.bulk_create(Room(code=f"ROOM-{number}", host=bob) for number in range(60))
    first = api.get("/api/rooms/").json()
    second = api.get(first["next"]).json()
    found = [room["code"] for page in (first, second) for room in page["results"]]
    assert len(first["results"]) == 50
    assert sorted(found) == sorted(f"ROOM-{number}" for number in range(60))
    assert second["next"] is None


def test_listing_rooms_is_two_statements_for_any_number_of_them(api: APIClient, bob: User) -> None:
    for _ in range(20):
        services.open_room(host=bob)
    with statements() as said:
        api.get("/api/rooms/")
    assert len(said) == 2, said


# --- Other origins ----------------------------------------------------------------------------


def preflight(client: Client, origin: str, path: str = "/api/rooms/") -> HttpResponse:
    response = client.options(
        path,
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert isinstance(response, HttpResponse)
    return response


def test_our_client_may_ask_from_its_own_origin_with_credentials(
    client: Client, api: APIClient
) -> None:
    for answer in (preflight(client, OUR_CLIENT), api.get("/api/rooms/", HTTP_ORIGIN=OUR_CLIENT)):
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == OUR_CLIENT
        assert answer.headers["access-control-allow-credentials"] == "true"
    allowed = preflight(client, OUR_CLIENT).headers["access-control-allow-headers"]
    assert {"authorization", "content-type"} <= set(allowed.split(", "))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost:5173", "http://localhost:5174", "null"]
)
def test_no_other_origin_may(client: Client, api: APIClient, origin: str) -> None:
    for answer in (preflight(client, origin), api.get("/api/rooms/", HTTP_ORIGIN=origin)):
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers


def test_the_pages_are_for_their_own_origin_alone(client: Client) -> None:
    answer = client.get("/login/", headers={"origin": OUR_CLIENT})
    assert "access-control-allow-origin" not in answer.headers


# --- The schema -------------------------------------------------------------------------------


def test_the_schema_names_every_endpoint(api: APIClient) -> None:
    answer = api.get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert answer.status_code == 200
    schema = answer.json()
    assert set(schema["paths"]) == {
        "/api/rooms/",
        "/api/rooms/{code}/",
        "/api/token/",
        "/api/token/refresh/",
    }
    assert set(schema["components"]["schemas"]["Room"]["properties"]) == KEYS
    assert schema["paths"]["/api/rooms/"]["get"]["security"][0] == {"jwtAuth": []}
    assert {"201", "403", "409"} <= set(schema["paths"]["/api/rooms/"]["post"]["responses"])
