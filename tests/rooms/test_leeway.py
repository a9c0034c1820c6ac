"""The times in tokens are checked with a leeway, for servers with different clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from rooms.api.tolerance import tolerant
from rooms.leeway import leeway
from rooms.models import Room
from signalling.auth import tokens
from signalling.auth.identity import TokenRefused

pytestmark = pytest.mark.django_db

Kind = type[AccessToken] | type[RefreshToken]


@pytest.fixture
def leeways(settings: Settings) -> Settings:
    """A site that does not set ``LEEWAY``."""
    settings.SIMPLE_JWT = {
        key: settings.SIMPLE_JWT[key] for key in settings.SIMPLE_JWT if key != "LEEWAY"
    }
    return settings


def token(user: User, kind: Kind = AccessToken, /, **seconds: float) -> str:
    """Return a token whose claims have these seconds from now."""
    made: Token = kind.for_user(user)
    for claim, later in seconds.items():
        made[claim] = int((datetime.now(UTC) + timedelta(seconds=later)).timestamp())
    return str(made)


def refusal(user: User, **seconds: float) -> str | None:
    """Return why a socket is refused with such a token, ``None`` if it is not."""
    try:
        tokens.authenticate(token(user, AccessToken, **seconds))
    except TokenRefused as error:
        return str(error.code)
    return None


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_of_a_server_whose_clock_is_ahead(leeways: Settings, bob: User, claim: str) -> None:
    assert refusal(bob, **{claim: 28}) is None
    assert refusal(bob, **{claim: 40}) == "token_invalid"


def test_a_token_expires_after_the_leeway(leeways: Settings, bob: User) -> None:
    assert refusal(bob, exp=-28) is None
    assert not tokens.authenticate(token(bob, exp=-28)).has_expired
    assert refusal(bob, exp=-40) == "token_expired"


@pytest.mark.parametrize(
    ("given", "seconds"), [(5, 5), (0, 0), (None, 0), (timedelta(seconds=90), 90)]
)
def test_the_leeway_of_the_site_counts(
    leeways: Settings, bob: User, given: Any, seconds: float
) -> None:
    assert leeway() == timedelta(seconds=30)
    leeways.SIMPLE_JWT = {**leeways.SIMPLE_JWT, "LEEWAY": given}
    assert leeway() == timedelta(seconds=seconds)
    assert refusal(bob, iat=seconds + 15) == "token_invalid"
    assert seconds == 0 or refusal(bob, iat=seconds - 3) is None
    assert refusal(bob, exp=-seconds - 1) == "token_expired"


def test_the_rest_api_has_the_same_leeway(
    leeways: Settings, bob: User, room: Room, client: Client
) -> None:
    def status(**seconds: float) -> int:
        bearer = {"authorization": f"Bearer {token(bob, AccessToken, **seconds)}"}
        return client.get("/api/rooms/", headers=bearer).status_code

    assert (status(iat=28), status(exp=-28)) == (200, 200)
    assert (status(iat=40), status(exp=-40)) == (401, 401)


def test_a_refresh_token_of_a_server_whose_clock_is_ahead(
    leeways: Settings, bob: User, client: Client
) -> None:
    for later, status in ((28, 200), (40, 401)):
        refresh = token(bob, RefreshToken, iat=later)
        assert client.post("/api/token/refresh/", {"refresh": refresh}).status_code == status


def test_a_token_with_the_leeway_is_the_same_token(leeways: Settings, bob: User) -> None:
    encoded = token(bob)
    with_leeway = tolerant(AccessToken)(encoded)
    assert isinstance(with_leeway, AccessToken)
    assert with_leeway.payload == AccessToken(encoded).payload  # type: ignore[arg-type]
    assert jwt.decode(str(with_leeway), options={"verify_signature": False}) == with_leeway.payload
