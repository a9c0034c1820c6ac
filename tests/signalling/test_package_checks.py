"""Without the package of an extra, a check or an error names the command that installs it."""

from __future__ import annotations

import importlib
import sys

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

import rooms.api
from rooms import extras
from signalling import package_checks
from signalling.auth import tokens
from signalling.auth.identity import TokenRefused
from signalling.servers import packages

pytestmark = pytest.mark.django_db


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The modules that are not installed; empty at first."""
    names: set[str] = set()
    monkeypatch.setattr(extras, "is_installed", lambda module: module not in names)
    return names


def hints(check_id: str) -> list[str]:
    return [str(message.hint) for message in run_checks() if message.id == check_id]


def test_a_site_whose_clients_cannot_authenticate(settings: Settings, missing: set[str]) -> None:
    settings.SIGNALLING = {"SESSION_AUTH": False}
    assert hints("signalling.E030") == []
    missing.add("rest_framework_simplejwt")
    assert hints("signalling.E030") == ['Install it: pip install "django-signalling[jwt]"']
    settings.SIGNALLING = {"SESSION_AUTH": False, "AUTHENTICATE": "builtins.str"}
    assert hints("signalling.E030") == []
    settings.SIGNALLING = {}
    assert hints("signalling.E030") == []


def test_a_redis_layer_without_its_packages(settings: Settings, missing: set[str]) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "signalling.layers.RedisChannelLayer"}}
    assert hints("signalling.E031") == []
    missing.add("msgpack")
    assert hints("signalling.E031") == [
        'Install the extra: pip install "django-signalling[redis]"',
    ]


def test_the_rest_api_names_its_extra(missing: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    missing.add("rest_framework")
    monkeypatch.setitem(sys.modules, "rooms.api", rooms.api)
    with pytest.raises(ImproperlyConfigured, match=r"django-signalling\[jwt\]"):
        importlib.reload(rooms.api)


def test_no_token_is_valid_without_simple_jwt(
    missing: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    tokens._unsupported.reset()
    missing.add("rest_framework_simplejwt")
    with pytest.raises(TokenRefused) as refused:
        tokens.authenticate("a.b.c")
    assert refused.value.code == "token_invalid"
    assert 'pip install "django-signalling[jwt]"' in caplog.text


@pytest.mark.parametrize("backend", ["signalling.layers.Local", "no_package.Layer", "nodots", None])
def test_a_layer_that_cannot_be_imported(settings: Settings, backend: object) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    assert len(hints("signalling.E032")) == 1


@pytest.mark.parametrize("extra", ["daphne", "uvicorn"])
def test_a_server_command_names_its_extra(missing: set[str], extra: str) -> None:
    packages.require(extra, extra)
    missing.add(extra)
    with pytest.raises(SystemExit, match=rf"needs {extra}\. .*django-signalling\[{extra}\]"):
        packages.require(extra, extra)


def test_the_app_needs_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    config = apps.get_app_config("signalling")
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "rooms")
    with pytest.raises(ImproperlyConfigured, match='add "rooms" to INSTALLED_APPS'):
        config.ready()


@pytest.mark.parametrize(
    ("command", "app", "warnings"),
    [
        ("runserver", "django.core", 1),
        ("runserver", "django.contrib.staticfiles", 1),
        ("runserver", "daphne", 0),
        ("check", "django.core", 0),
    ],
)
def test_a_runserver_without_websockets(
    monkeypatch: pytest.MonkeyPatch, command: str, app: str, warnings: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", command])
    monkeypatch.setattr(package_checks, "get_commands", lambda: {"runserver": app})
    assert len(hints("signalling.W019")) == warnings
