"""The settings of SimpleJWT count for sockets as they do for the REST API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken

from rooms.api.tolerance import TolerantAuthentication
from rooms.models import Room
from signalling.auth import tokens
from signalling.auth.identity import TokenRefused
from tests.conftest import access_token
from tests.signalling.sockets import AppSocket, connected

uses_database = pytest.mark.django_db(transaction=True)


def set_simplejwt(settings: Settings, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
    """Set keys of ``SIMPLE_JWT``, which SimpleJWT's modules read only once."""
    settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, **given}
    for name, value in given.items():
        monkeypatch.setattr(api_settings, name, value)


# --- The header -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("types", "header", "token"),
    [
        (("JWT",), b"JWT a", "a"),
        (("JWT",), b"jwt a", "a"),
        ("JWT", b"JWT a", "a"),
        (["Token", "JWT"], b"JWT a", "a"),
        (("JWT",), b"Bearer a", "a"),  # from the clients of signalling
        (("JWT",), b"Token a", None),
    ],
)
def test_the_types_of_the_header_count(
    settings: Settings, types: Any, header: bytes, token: str | None
) -> None:
    settings.SIMPLE_JWT = {"AUTH_HEADER_TYPES": types}
    assert tokens.find([(b"authorization", header)], b"") == token


def test_the_name_of_the_header_counts(settings: Settings) -> None:
    settings.SIMPLE_JWT = {"AUTH_HEADER_NAME": "HTTP_X_ACCESS_TOKEN"}
    assert tokens.find([(b"x-access-token", b"Bearer a")], b"") == "a"
    assert tokens.find([(b"authorization", b"Bearer a")], b"") is None


def test_a_site_without_simplejwt_has_bearer_tokens(settings: Settings) -> None:
    del settings.SIMPLE_JWT
    assert tokens.find([(b"authorization", b"Bearer a")], b"") == "a"


# --- Claims -----------------------------------------------------------------------------------


@uses_database
def test_the_field_and_the_claim_of_the_user_count(
    bob: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_simplejwt(settings, monkeypatch, USER_ID_FIELD="username", USER_ID_CLAIM="sub")
    token = AccessToken.for_user(bob)
    assert token["sub"] == "bob"
    assert tokens.authenticate(str(token)).user == bob
    token["sub"] = "b\x00b"
    with pytest.raises(TokenRefused):
        tokens.authenticate(str(token))


@uses_database
async def test_a_token_joins_rooms_until_the_end_of_the_leeway(
    room: Room, bob: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_simplejwt(settings, monkeypatch, LEEWAY=60)
    token = AccessToken.for_user(bob)
    token.set_exp(lifetime=-timedelta(seconds=30))
    socket = AppSocket(headers={"authorization": f"Bearer {token}"})
    await socket.connect()
    await socket.join()
    await socket.request("leave:room")
    set_simplejwt(settings, monkeypatch, LEEWAY=10)
    answer = await socket.request("join:room", {"roomCode": "ABC123"})
    assert answer["data"]["code"] == "token_expired"
    await socket.disconnect()


# --- Unexpected exceptions ----------------------------------------------------------------------


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's code that reads users has a bug."""

    def get_user(self: object, token: object) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(TolerantAuthentication, "get_user", get_user)


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record.exc_info[1] for record in caplog.records if record.exc_info]


@uses_database
@pytest.mark.usefixtures("bug")
async def test_a_bug_does_not_make_the_token_of_a_handshake_invalid(
    bob: User, caplog: pytest.LogCaptureFixture
) -> None:
    """4401 would be final for the client."""
    socket = AppSocket(headers={"authorization": f"Bearer {access_token(bob)}"})
    await socket.connect()
    error = await socket.receive_error("internal")
    assert await socket.receive_close() == 4500
    await socket.disconnect()
    assert error["reference"] in caplog.text
    assert [str(one) for one in tracebacks(caplog)] == ["a bug"]


@uses_database
async def test_a_bug_does_not_end_the_call_of_a_client_that_renews_its_token(
    room: Room, bob: User, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        request.getfixturevalue("bug")
        answer = await socket.request("authenticate", {"token": access_token(bob)})
        assert answer["data"]["code"] == "internal"
        await socket.receive_nothing()
    assert [str(one) for one in tracebacks(caplog)] == ["a bug"]


@uses_database
@pytest.mark.usefixtures("bug")
def test_a_bug_is_an_error_of_the_server_for_the_rest_api_too(bob: User) -> None:
    client = Client(raise_request_exception=False)
    bearer = {"authorization": f"Bearer {access_token(bob)}"}
    assert client.get("/api/rooms/", headers=bearer).status_code == 500


# --- Headers that anyone may write --------------------------------------------------------------


@uses_database
def test_a_token_that_is_nested_too_deeply_is_invalid(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*args: object, **kwargs: object) -> None:  # as PyJWT 2.13 does
        raise RecursionError

    monkeypatch.setattr(TokenBackend, "decode", decode)
    with pytest.raises(TokenRefused) as refused:
        tokens.authenticate("any")
    assert refused.value.code == "token_invalid"
    assert client.get("/api/rooms/", headers={"authorization": "Bearer any"}).status_code == 401
