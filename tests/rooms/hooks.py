"""Hooks of a host site, which tests name in ``settings.SIGNALLING``."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from rooms.models import Room


def tea() -> str:
    return "tea"


def deny(user: AbstractBaseUser) -> bool:
    return False


def only_bob(user: AbstractBaseUser, room: Room) -> bool:
    return user.get_username() == "bob"


def only_unnamed_rooms(user: AbstractBaseUser, room: Room) -> bool:
    return not room.name


def shout(user: AbstractBaseUser) -> dict[str, Any]:
    return {"username": user.get_username().upper(), "colour": "red"}


def explode(*arguments: object) -> bool:
    raise RuntimeError("the hook has a bug")
