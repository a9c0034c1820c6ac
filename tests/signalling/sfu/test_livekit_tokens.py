"""What clients receive to connect to LiveKit, and what their tokens grant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest
from livekit import api
from pytest_django import Settings

from signalling.sfu.base import SfuRoom
from signalling.sfu.livekit import LiveKitSfu
from tests.signalling.sfu.livekit_server import KEY, SECRET

ROOM = SfuRoom("room_abc123", 3, 20)


def test_a_route_contains_the_url_and_a_token_for_the_peer(backend: LiveKitSfu) -> None:
    route = backend.route(ROOM, "peer_1")
    assert route.keys() == {"provider", "url", "token"}
    assert (route["provider"], route["url"]) == ("livekit", "wss://livekit.example.org")
    claims = api.TokenVerifier(KEY, SECRET).verify(route["token"])
    assert claims.identity == "peer_1"
    assert claims.video == api.VideoGrants(
        room_join=True,
        room="room_abc123",
        can_publish=True,
        can_subscribe=True,
        can_publish_data=False,
        can_update_own_metadata=False,
    )


@pytest.mark.parametrize(("given", "seconds"), [({}, 600), ({"TOKEN_SECONDS": 45}, 45)])
def test_a_token_is_valid_for_ten_minutes_by_default(
    options: dict[str, Any], given: dict[str, int], seconds: int
) -> None:
    token = LiveKitSfu("default", options | given).token(ROOM, "peer_1")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer=KEY)
    assert claims["exp"] - claims["nbf"] == seconds


@pytest.mark.parametrize(("key", "secret"), [(KEY, SECRET[:-1]), ("APIother", SECRET)])
def test_a_token_is_signed_with_our_key(backend: LiveKitSfu, key: str, secret: str) -> None:
    token = backend.token(ROOM, "peer_1")
    with pytest.raises(jwt.InvalidTokenError):
        api.TokenVerifier(key, secret).verify(token)


def test_a_token_does_not_grant_access_to_the_api(backend: LiveKitSfu) -> None:
    video = api.TokenVerifier(KEY, SECRET).verify(backend.token(ROOM, "peer_1")).video
    assert video is not None
    for grant in ("room_admin", "room_create", "room_list", "room_record"):
        assert not getattr(video, grant)


@pytest.mark.parametrize(
    ("given", "client"),
    [
        ("vendor/livekit-client.esm.mjs", "/static/vendor/livekit-client.esm.mjs"),
        ("/assets/livekit.mjs", "/assets/livekit.mjs"),
        ("https://cdn.example.org/livekit.mjs", "https://cdn.example.org/livekit.mjs"),
    ],
)
def test_a_route_contains_the_url_of_the_client_library(
    options: dict[str, Any], settings: Settings, given: str, client: str
) -> None:
    settings.STATIC_URL = "/static/"
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    backend = LiveKitSfu("default", options | {"CLIENT": given})
    assert backend.route(ROOM, "peer_1")["client"] == client


def test_a_missing_client_library_is_logged_once_and_left_out(
    options: dict[str, Any],
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    manifest = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STATIC_ROOT, settings.DEBUG = str(tmp_path), False
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": manifest}}
    backend = LiveKitSfu("default", options | {"CLIENT": "vendor/livekit.mjs"})
    for _ in range(2):
        assert "client" not in backend.route(ROOM, "peer_1")
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
