"""``manage.py check`` reports a forgotten login page, and functions in place of import paths."""

from __future__ import annotations

import pytest
from django.contrib.auth.views import LoginView
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.urls import include, path
from pytest_django import Settings

from rooms.conf import conf

pytestmark = pytest.mark.django_db

urlpatterns = [
    path("calls/", include("signalling.urls")),
    path("sign-in/", LoginView.as_view(), name="sign-in"),
]


def messages(check_id: str) -> list[str]:
    return [message.msg for message in run_checks() if message.id == check_id]


@pytest.mark.parametrize(
    ("login", "warnings"),
    [
        ("/accounts/login/", 1),
        ("no-such-name", 1),
        ("/sign-in/", 0),
        ("/sign-in/?method=code", 0),
        ("sign-in", 0),
        ("https://id.example.org/login/", 0),
    ],
)
def test_the_pages_need_a_login_page(settings: Settings, login: str, warnings: int) -> None:
    settings.ROOT_URLCONF, settings.LOGIN_URL = __name__, login
    assert len(messages("signalling.W018")) == warnings


def test_a_site_without_our_pages_needs_no_login_page(settings: Settings) -> None:
    settings.ROOT_URLCONF, settings.LOGIN_URL = "rooms.api.urls", "/accounts/login/"
    assert messages("signalling.W018") == []


def test_a_function_in_place_of_its_path_is_named(settings: Settings) -> None:
    settings.SIGNALLING = {"CAN_JOIN": len}
    assert messages("signalling_rooms.E001") == [
        "SIGNALLING['CAN_JOIN'] is <built-in function len>, which is not an import path."
    ]


def test_the_settings_must_be_a_dict(settings: Settings) -> None:
    settings.SIGNALLING = ["CAN_JOIN"]
    with pytest.raises(ImproperlyConfigured, match="SIGNALLING must be a dict"):
        conf()
