"""The data about users that others get: its encoding, and the names of the default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import User
from django.db import models
from pytest_django import Settings

from rooms import checks, policies, user_info
from rooms.models import Participant, Room
from tests.conftest import Enter
from tests.rooms import hooks
from tests.rooms.helpers import seats

# --- Encoding ---------------------------------------------------------------------------------


@pytest.mark.django_db
def test_all_frames_contain_what_the_database_does(
    room: Room, bob: User, enter: Enter, settings: Settings
) -> None:
    settings.SIGNALLING = {"USER_INFO": "tests.rooms.hooks.rich"}
    info = enter(bob).participant.user_info
    assert info == hooks.PLAIN == Participant.objects.get().user_info
    assert kinds(info) <= {dict, list, str, int, float, type(None)}


def kinds(value: Any) -> set[type]:
    """Return the exact types in a JSON value: a subclass of ``str`` cannot be encoded."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {type(value)}.union(*map(kinds, inner))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fault",
    [
        None,
        [],
        {"a": {1, 2}},
        {"a": object()},
        {"a": float("nan")},
        {"a": "\ud83d"},
        {"\ud83d": 1},
        {"a": 2**64},
        {"a": -(2**63) - 1},
    ],
)
def test_what_is_not_json_fails_before_a_seat_is_taken(
    room: Room, bob: User, enter: Enter, settings: Settings, fault: Any
) -> None:
    settings.SIGNALLING = {"USER_INFO": "tests.rooms.hooks.faulty"}
    hooks.fault[0] = fault
    with pytest.raises((TypeError, ValueError)):
        enter(bob)
    assert seats(room) == []


# --- The default ------------------------------------------------------------------------------


class Plain(AbstractBaseUser):
    """A user model without names, whose email address is its user name."""

    email = models.CharField(max_length=99)
    USERNAME_FIELD = "email"

    class Meta:
        app_label = "tests"
        managed = False


class Named(Plain):
    """One with the methods of ``AbstractUser``."""

    full = short = ""

    class Meta:
        app_label = "tests"
        proxy = True

    def get_full_name(self) -> str:
        return self.full

    def get_short_name(self) -> str:
        return self.short


@pytest.fixture(scope="module", autouse=True)
def unregistered() -> Iterator[None]:
    """Remove the models of this module from the registry at the end."""
    yield
    from django.apps import apps

    apps.all_models.pop("tests", None)
    apps.clear_cache()


def named(full: str = "", short: str = "") -> Named:
    user = Named(pk=7, email="anna@example.org")
    user.full, user.short = full, short
    return user


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (named("Anna Schmidt", "Anna"), "Anna Schmidt"),
        (named(" ", "Anna"), "Anna"),
        (named("anna@example.org", "Anna"), "Anna"),
        (named("Anna <anna@example.org>", "anna@example.org"), None),
        (named(), None),
        (Plain(pk=7, email="anna@example.org"), None),
        (User(pk=7, username="anna@example.org", first_name="Anna"), "Anna"),
        (User(pk=7, username="anna@example.org"), None),
    ],
)
def test_an_email_address_is_never_shown(user: Any, name: str | None) -> None:
    info = policies.user_info(user)
    assert "@" not in str(info)
    assert info["username"] == user_info.code_name(user)
    assert info.get("displayName") == name
    assert user_info.label(info) == name or info["username"]


@pytest.mark.parametrize("username", ["anna", "@anna", "anna@", "a@b c@d"])
def test_other_user_names_are_shown_alone(username: str) -> None:
    user = User(username=username, first_name="Anna", email="anna@example.org")
    assert policies.user_info(user) == {"username": username}


def test_each_user_has_a_code_name_that_stays(settings: Settings) -> None:
    first, second = user_info.code_name(User(pk=1)), user_info.code_name(User(pk=2))
    assert first == user_info.code_name(User(pk=1)) != second
    assert len(first) == len("User ") + 8
    settings.SECRET_KEY = "another"
    assert user_info.code_name(User(pk=1)) != first  # nobody else can compute it


@pytest.mark.parametrize(
    ("model", "signalling", "is_warned"),
    [
        (Plain, {}, True),
        (Plain, {"USER_INFO": "tests.rooms.hooks.shout"}, False),
        (User, {}, False),
    ],
)
def test_a_site_whose_users_have_no_public_name_is_warned(
    model: type[AbstractBaseUser],
    signalling: dict[str, str],
    is_warned: bool,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.SIGNALLING = signalling
    monkeypatch.setattr(checks, "get_user_model", lambda: model)
    ids = [problem.id for problem in checks.check_user_info(None)]
    assert ids == ["signalling_rooms.W008"] * is_warned
