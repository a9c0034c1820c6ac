"""Hooks of a host site, which tests name in ``settings.SIGNALLING``."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db import connection
from django.db.models import TextChoices
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from rooms.models import Room

WORDS = ["tide", "lamp", "oaks", "reed", "mint", "barn", "fern", "gold"]
WORDS += ["plum", "snow", "dusk", "wave", "herb", "cove", "yarn", "kelp"]


def tea() -> str:
    return "tea"


def pin() -> str:
    return f"{random.randrange(10_000):04}"


made: list[int] = []
"""The depth of the transaction in which ``recorded_pin`` was called, for each call."""


def recorded_pin() -> str:
    made.append(len(connection.savepoint_ids))
    return pin()


def three_words() -> str:
    return "-".join(random.choices(WORDS, k=3))


def deny(user: AbstractBaseUser) -> bool:
    return False


def only_bob(user: AbstractBaseUser, room: Room) -> bool:
    return user.get_username() == "bob"


def alice_and_bob(user: AbstractBaseUser, room: Room) -> bool:
    return user.get_username() in {"alice", "bob"}


def callers_only(user: Any, room: Room) -> bool:
    return bool(user.has_perm("signalling_rooms.view_room"))


def only_unnamed_rooms(user: AbstractBaseUser, room: Room) -> bool:
    return not room.name


def shout(user: AbstractBaseUser) -> dict[str, Any]:
    return {"username": user.get_username().upper(), "colour": "red"}


def explode(*arguments: object) -> bool:
    raise RuntimeError("the hook has a bug")


def full_name(user: Any) -> dict[str, Any]:
    """Return the first name as the display name."""
    return {"username": user.get_username(), "displayName": user.first_name}


class Colour(TextChoices):
    RED = "red"


def rich(user: Any) -> dict[str, Any]:
    """Return values of the kinds that models have."""
    return {
        "username": mark_safe(user.get_username()),
        "displayName": mark_safe("Bob"),
        "title": gettext_lazy("User"),
        "since": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "local": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))),
        "naive": datetime(2026, 1, 2, 3, 4, 5),
        "born": date(2000, 1, 2),
        "at": time(9, 30),
        "shift": timedelta(hours=1),
        "id": UUID(int=1),
        "balance": Decimal("1.50"),
        "colour": Colour.RED,
        "tags": ("a", mark_safe("b")),
        "more": {1: None, "score": 0.5, "big": 2**63},
    }


PLAIN = {
    "username": "bob",
    "displayName": "Bob",
    "title": "User",
    "since": "2026-01-02T03:04:05.678Z",
    "local": "2026-01-02T03:04:05+01:00",
    "naive": "2026-01-02T03:04:05Z",
    "born": "2000-01-02",
    "at": "09:30:00",
    "shift": "P0DT01H00M00S",
    "id": "00000000-0000-0000-0000-000000000001",
    "balance": "1.50",
    "colour": "red",
    "tags": ["a", "b"],
    "more": {"1": None, "score": 0.5, "big": 2**63},
}
"""What the others get of it."""


def faulty(user: Any) -> Any:
    """Return the faulty value that a test has set."""
    return fault[0]


fault: list[Any] = [None]
