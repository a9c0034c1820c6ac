"""A site with tenants: each has a database, and their rooms and users share another one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, Group

from rooms.models import Room

TENANTS = ["north", "south"]
_thread = threading.local()
asked: list[tuple[str, str | None]] = []
"""The hooks that were called, and the tenant whose context surrounded them."""


def tenant() -> str | None:
    return getattr(_thread, "tenant", None)


@contextmanager
def context(scope: dict[str, Any]) -> Iterator[None]:
    """SIGNALLING["CONTEXT"]: the tenant is the first part of the host."""
    host = dict(scope["headers"])[b"host"].decode()
    before, _thread.tenant = tenant(), host.partition(".")[0]
    try:
        yield
    finally:
        _thread.tenant = before


class Router:
    """Sends the groups of users to the database of the tenant."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return tenant() if model is Group else None

    db_for_write = db_for_read


def can_join(user: AbstractBaseUser, room: Room) -> bool:
    asked.append(("can_join", tenant()))
    return Group.objects.filter(name=room.name).exists()


def can_stay(user: AbstractBaseUser, room: Room) -> bool:
    asked.append(("can_stay", tenant()))
    return Group.objects.filter(name=room.name).exists()


def user_info(user: AbstractBaseUser) -> dict[str, Any]:
    asked.append(("user_info", tenant()))
    return {"username": user.get_username(), "groups": Group.objects.count()}


def authenticate(token: str) -> AbstractBaseUser | None:
    asked.append(("authenticate", tenant()))
    return None


def left(*, participant: Any, **kwargs: Any) -> None:
    asked.append(("left", tenant()))
