from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

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
    """A client that authenticates with an access token of bob."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token(bob)}")
    return client


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient()


def open_room(api: APIClient, **fields: object) -> Any:
    return api.post("/api/rooms/", fields, format="json")


# --- Tokens -----------------------------------------------------------------------------------


def test_a_password_gives_tokens_that_authenticate(anonymous: APIClient, bob: User) -> None:
    response = anonymous.post("/api/token/", {"username": "bob", "password": PASSWORD})
    assert response.status_code == 200
    assert set(response.json()) == {"access", "refresh"}
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {response.json()['access']}")
    assert anonymous.get("/api/rooms/").status_code == 200


def test_a_refresh_token_gives_an_access_token_but_does_not_authenticate(
    anonymous: APIClient, bob: User
) -> None:
    tokens = anonymous.post("/api/token/", {"username": "bob", "password": PASSWORD}).json()
    response = anonymous.post("/api/token/refresh/", {"refresh": tokens["refresh"]})
    assert response.status_code == 200
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {response.json()['access']}")
    assert anonymous.get("/api/rooms/").status_code == 200
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['refresh']}")
    assert anonymous.get("/api/rooms/").status_code == 401


def test_a_wrong_password_gives_no_token(anonymous: APIClient, bob: User) -> None:
    response = anonymous.post("/api/token/", {"username": "bob", "password": "wrong"})
    assert response.status_code == 401
    assert "access" not in response.json()


def test_changing_the_password_revokes_tokens(api: APIClient, bob: User) -> None:
    bob.set_password("another horse")
    bob.save()
    assert api.get("/api/rooms/").status_code == 401


def test_a_refresh_after_a_password_change_is_refused(anonymous: APIClient, bob: User) -> None:
    refresh = str(RefreshToken.for_user(bob))
    bob.set_password("another horse")
    bob.save()
    response = anonymous.post("/api/token/refresh/", {"refresh": refresh})
    assert response.status_code == 401
    assert "access" not in response.json()


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
def test_a_signed_token_with_unexpected_claims_is_rejected(
    anonymous: APIClient, bob: User, kind: type[Token], claims: dict[str, Any]
) -> None:
    token: Any = kind.for_user(bob)
    token.payload.update(claims)
    if kind is AccessToken:
        anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        response = anonymous.get("/api/rooms/")
    else:
        response = anonymous.post("/api/token/refresh/", {"refresh": str(token)})
        if response.status_code == 200:  # SimpleJWT does not look up empty user IDs
            assert not claims["user_id"]
            anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {response.json()['access']}")
            response = anonymous.get("/api/rooms/")
    assert response.status_code == 401


@pytest.mark.parametrize("deleted", [True, False])
def test_the_refresh_token_of_a_deleted_or_inactive_user_is_rejected(
    anonymous: APIClient, bob: User, deleted: bool
) -> None:
    refresh = str(RefreshToken.for_user(bob))
    if deleted:
        bob.delete()
    else:
        User.objects.update(is_active=False)
    response = anonymous.post("/api/token/refresh/", {"refresh": refresh})
    assert response.status_code == 401
    assert "access" not in response.json()


@pytest.mark.parametrize("path", ["/api/rooms/", "/api/token/refresh/"])
def test_an_unavailable_database_is_not_an_invalid_token(
    api: APIClient, bob: User, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OperationalError("unavailable")

    refresh = str(RefreshToken.for_user(bob))
    monkeypatch.setattr("django.contrib.auth.models.User.objects.get", fail)
    assert api.post(path, {"refresh": refresh}).status_code == 503


def test_password_guesses_are_throttled(anonymous: APIClient, bob: User) -> None:
    guess = {"username": "bob", "password": "wrong"}
    responses = [anonymous.post("/api/token/", guess) for _ in range(12)]
    assert [response.status_code for response in responses] == [401] * 10 + [429] * 2
    assert [response["Retry-After"] for response in responses[10:]] == ["1"] * 2


@pytest.mark.parametrize("path", ["/api/token/", "/api/token/refresh/"])
def test_requests_for_tokens_are_throttled_for_a_school_behind_one_address(
    anonymous: APIClient, path: str
) -> None:
    codes = [anonymous.post(path, {}).status_code for _ in range(301)]
    assert codes == [400] * 300 + [429]


# --- Opening rooms ----------------------------------------------------------------------------


def test_a_user_can_open_a_room_and_is_its_host(api: APIClient, bob: User) -> None:
    response = open_room(api, name="Tea")
    room = Room.objects.get()
    assert response.status_code == 201
    assert response.json() == {
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


@pytest.mark.parametrize(
    "fields", [{}, {"code": None}, {"code": ""}, {"name": ""}, {"name": "x" * 100}]
)
def test_all_fields_of_a_new_room_are_optional(api: APIClient, fields: dict[str, object]) -> None:
    response = open_room(api, **fields)
    assert response.status_code == 201
    assert len(response.json()["code"]) == 10


def test_a_code_can_be_chosen(api: APIClient) -> None:
    response = open_room(api, code="tea-time")
    assert response.status_code == 201
    assert response.json()["code"] == "TEA-TIME"
    assert response.json()["roomId"] == "room_tea-time"


@pytest.mark.parametrize("code", ["ABC123", "abc123"])
def test_a_taken_code_is_a_conflict(api: APIClient, room: Room, code: str) -> None:
    response = open_room(api, code=code)
    assert response.status_code == 409
    assert response.json() == {
        "code": "code_taken",
        "detail": "This room code is taken; choose another one.",
    }


@pytest.mark.parametrize("code", ["no way", "ab", "A" * 33, "té-té"])
def test_a_malformed_code_is_a_bad_request(api: APIClient, code: str) -> None:
    response = open_room(api, code=code)
    assert response.status_code == 400
    assert response.json()["code"] == "bad_request"
    assert not Room.objects.exists()


@pytest.mark.parametrize("fields", [{"name": "x" * 101}, {"code": [1]}])
def test_a_field_of_the_wrong_type_or_size_is_a_bad_request(
    api: APIClient, fields: dict[str, Any]
) -> None:
    response = open_room(api, **fields)
    assert response.status_code == 400
    assert set(response.json()) == set(fields)
    assert not Room.objects.exists()


def test_a_body_that_is_not_an_object_is_a_bad_request(api: APIClient) -> None:
    assert api.post("/api/rooms/", [1], format="json").status_code == 400
    broken = api.post("/api/rooms/", "{", content_type="application/json")
    assert broken.status_code == 400


def test_a_policy_can_forbid_opening_a_room(api: APIClient, settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_CREATE": "tests.rooms.hooks.deny"}
    response = open_room(api)
    assert response.status_code == 403
    assert response.json()["code"] == "forbidden"
    assert not Room.objects.exists()


def test_too_many_rooms_are_a_conflict(api: APIClient, settings: Settings) -> None:
    settings.SIGNALLING = {"OPEN_ROOMS": 1}
    assert open_room(api).status_code == 201
    response = open_room(api)
    assert (response.status_code, response.json()["code"]) == (409, "too_many_rooms")


@pytest.mark.parametrize("path", ["/api/rooms/", "/api/rooms/ABC123/"])
def test_anonymous_requests_are_rejected(anonymous: APIClient, room: Room, path: str) -> None:
    assert anonymous.get(path).status_code == 401
    assert anonymous.post(path, {}).status_code == 401


def test_session_authentication_requires_a_csrf_token(bob: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(bob)
    assert client.get("/api/rooms/").status_code == 200
    assert client.post("/api/rooms/", {}).status_code == 403


# --- Reading rooms ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ABC123", "abc123", "Abc123"])
def test_a_room_is_found_by_its_code_in_any_case(
    api: APIClient, room: Room, alice: User, enter: Enter, code: str
) -> None:
    enter(alice)
    response = api.get(f"/api/rooms/{code}/")
    assert response.status_code == 200
    assert set(response.json()) == KEYS
    assert response.json() == {
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
def test_an_unknown_room_is_not_found(api: APIClient, room: Room, code: str) -> None:
    response = api.get(f"/api/rooms/{code}/")
    assert response.status_code == 404
    assert response.json()["code"] == "room_not_found"


def test_the_response_contains_the_lock_and_the_mode(api: APIClient, room: Room) -> None:
    Room.objects.update(is_locked=True, mode="sfu")
    response = api.get("/api/rooms/ABC123/").json()
    assert (response["isLocked"], response["mode"], response["limit"]) == (True, "sfu", 50)


def test_reading_a_room_is_two_statements(api: APIClient, room: Room) -> None:
    with statements() as queries:
        api.get("/api/rooms/ABC123/")
    assert len(queries) == 2, queries  # the user and the room


def test_only_the_users_own_rooms_are_listed(api: APIClient, room: Room, bob: User) -> None:
    for code in ("FIRST", "SECOND"):
        services.open_room(host=bob, code=code)
    response = api.get("/api/rooms/")
    assert [found["code"] for found in response.json()["results"]] == ["SECOND", "FIRST"]
    assert all(set(found) == KEYS for found in response.json()["results"])


def test_a_closed_room_is_gone_and_not_listed(api: APIClient, bob: User) -> None:
    services.close_room(services.open_room(host=bob, code="TEA"))
    response = api.get("/api/rooms/tea/")
    assert response.status_code == 410
    assert response.json()["code"] == "room_closed"
    assert api.get("/api/rooms/").json()["results"] == []


def test_the_list_of_rooms_is_paginated(api: APIClient, bob: User) -> None:
    Room.objects.bulk_create(Room(code=f"ROOM-{number}", host=bob) for number in range(60))
    first = api.get("/api/rooms/").json()
    second = api.get(first["next"]).json()
    found = [room["code"] for page in (first, second) for room in page["results"]]
    assert len(first["results"]) == 50
    assert sorted(found) == sorted(f"ROOM-{number}" for number in range(60))
    assert second["next"] is None


@pytest.mark.parametrize(
    "cursor",
    [
        *(b"p=abc", b"p=%00", b"o=1&p=2024-13-99+00:00:00Z", b"p=2024-01-01+00:00"),
        *(b"p=0001-01-01+00:00%2B14:00", b"r=1&p=9999-12-31+23:59-14:00"),
        *(b"o=-1", b"\xff"),
    ],
)
def test_a_cursor_must_contain_a_time(api: APIClient, bob: User, cursor: bytes) -> None:
    response = api.get("/api/rooms/", {"cursor": b64encode(cursor).decode()})
    assert (response.status_code, response.json()) == (404, {"detail": "Invalid cursor"})


@pytest.mark.parametrize("time", ["0002-01-01 00:00:00+00:00", "9998-12-31 23:59:59+00:00"])
def test_a_cursor_may_contain_any_time_that_fits_all_time_zones(api: APIClient, time: str) -> None:
    cursor = b64encode(urlencode({"p": time}).encode()).decode()
    assert api.get("/api/rooms/", {"cursor": cursor}).status_code == 200


def test_listing_rooms_is_two_statements_for_any_number_of_rooms(api: APIClient, bob: User) -> None:
    for _ in range(20):
        services.open_room(host=bob)
    with statements() as queries:
        api.get("/api/rooms/")
    assert len(queries) == 2, queries


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


def test_the_configured_origin_is_allowed_with_credentials(client: Client, api: APIClient) -> None:
    for response in (preflight(client, OUR_CLIENT), api.get("/api/rooms/", HTTP_ORIGIN=OUR_CLIENT)):
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == OUR_CLIENT
        assert response.headers["access-control-allow-credentials"] == "true"
    allowed = preflight(client, OUR_CLIENT).headers["access-control-allow-headers"]
    assert {"authorization", "content-type"} <= set(allowed.split(", "))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost:5173", "http://localhost:5174", "null"]
)
def test_other_origins_are_not_allowed(client: Client, api: APIClient, origin: str) -> None:
    for response in (preflight(client, origin), api.get("/api/rooms/", HTTP_ORIGIN=origin)):
        assert "access-control-allow-origin" not in response.headers
        assert "access-control-allow-credentials" not in response.headers


def test_pages_send_no_cors_headers(client: Client) -> None:
    response = client.get("/login/", headers={"origin": OUR_CLIENT})
    assert "access-control-allow-origin" not in response.headers
