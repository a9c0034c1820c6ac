from __future__ import annotations

from typing import Any

import pytest
from django.core import checks
from pytest_django import Settings

from signalling.sfu.livekit.options import api_url

pytestmark = pytest.mark.django_db  # from Django 6.1 on, system checks query the database

GOOD: dict[str, Any] = {
    "BACKEND": "signalling.sfu.livekit.LiveKitSfu",
    "URL": "wss://livekit.example.org",
    "API_KEY": "APIkey",
    "API_SECRET": "s" * 32,
}


def problems(settings: Settings, **options: Any) -> list[str]:
    settings.SIGNALLING = {"SFU": {**GOOD, **options}}
    ids = [str(message.id) for message in checks.run_checks()]
    return [found for found in ids if found.startswith("signalling.")]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"URL": "ws://127.0.0.1:7880"},
        {"API_URL": "http://10.0.0.5:7880"},
        {"API_URL": ""},
        {"TOKEN_SECONDS": 1},
        {"TOKEN_SECONDS": 600},
        {"CLIENT": ""},
        {"CLIENT": "signalling/index.js"},
        {"CLIENT": "https://cdn.example.org/livekit-client.esm.mjs"},
        {"CLIENT": "/assets/livekit-client.esm.mjs"},
        {"ROOM_PREFIX": "shop."},
    ],
)
def test_valid_options_pass(settings: Settings, options: dict[str, Any]) -> None:
    assert problems(settings, **options) == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"URL": "https://livekit.example.org"}, "E008"),
        ({"URL": "livekit.example.org"}, "E008"),
        ({"URL": "wss://"}, "E008"),
        ({"URL": "wss://[livekit"}, "E008"),
        ({"URL": None}, "E008"),
        ({"API_URL": "ws://10.0.0.5:7880"}, "E008"),
        ({"API_KEY": ""}, "E009"),
        ({"API_KEY": None}, "E009"),
        ({"API_SECRET": "s" * 31}, "E009"),
        ({"API_SECRET": None}, "E009"),
        ({"TOKEN_SECONDS": 0}, "E010"),
        ({"TOKEN_SECONDS": 601}, "E010"),
        ({"TOKEN_SECONDS": 60.0}, "E010"),
        ({"TOKEN_SECONDS": True}, "E010"),
        ({"CLIENT": 1}, "E011"),
        ({"ROOM_PREFIX": None}, "E011"),
        ({"SECRET": "s"}, "E012"),
        ({"CLIENT": "vendor/livekit-client.esm.mjs"}, "W004"),
    ],
)
def test_invalid_options_are_reported(
    settings: Settings, options: dict[str, Any], problem: str
) -> None:
    assert problems(settings, **options) == [f"signalling.{problem}"]


def test_static_files_are_not_checked_without_the_staticfiles_app(settings: Settings) -> None:
    apps = [app for app in settings.INSTALLED_APPS if app != "django.contrib.staticfiles"]
    settings.INSTALLED_APPS = apps
    assert problems(settings, CLIENT="vendor/livekit-client.esm.mjs") == []


def test_missing_options_are_reported(settings: Settings) -> None:
    settings.SIGNALLING = {"SFU": {"BACKEND": GOOD["BACKEND"]}}
    ids = {str(message.id) for message in checks.run_checks()}
    assert {"signalling.E008", "signalling.E009"} <= ids


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"URL": "wss://livekit.example.org"}, "https://livekit.example.org"),
        ({"URL": "ws://127.0.0.1:7880"}, "http://127.0.0.1:7880"),
        ({"URL": "wss://livekit.example.org", "API_URL": "http://lk:7880"}, "http://lk:7880"),
    ],
)
def test_the_api_url_defaults_to_the_url_of_clients(options: dict[str, str], url: str) -> None:
    assert api_url(options) == url
