"""Hooks of a host site, which tests name in ``settings.SIGNALLING``."""

from __future__ import annotations

import random
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import connection

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
