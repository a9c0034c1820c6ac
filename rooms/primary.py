"""The database that decides: the one to which Django's routers send the writes of rooms.

A replica has the rooms and users of the past. So rooms are read where they are written
(``PrimaryQuerySet``), transactions are those of that database (``atomic``), and all other reads that
a decision rests on, such as that of the user, go to the database that a router names for writes to
the model (``reads``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from django.apps import apps
from django.db import connections, models, router, transaction

from . import sqlite

Row = TypeVar("Row", bound=models.Model)


def alias() -> str:
    """Return the alias of the database that decides."""
    return router.db_for_write(apps.get_model("signalling_rooms", "Room"))


@contextmanager
def atomic() -> Iterator[None]:
    """Return a transaction of this database; within another one, a savepoint."""
    using = alias()
    with reads(), sqlite.exclusive(connections[using]), transaction.atomic(using=using):
        yield


@contextmanager
def write() -> Iterator[None]:
    """Surround a single statement that writes; a transaction only where the host needs it."""
    if sqlite.is_deferred(connections[alias()]):
        with atomic():
            yield
    else:
        yield


@contextmanager
def reads() -> Iterator[None]:
    """Read from the databases that are named for writes. Also a decorator."""
    if not router.routers:
        yield
        return
    if _PRIMARY not in router.routers:
        router.routers = [_PRIMARY, *router.routers]
    token = _decides.set(True)
    try:
        yield
    finally:
        _decides.reset(token)


class PrimaryQuerySet(models.QuerySet[Row]):
    """Reads from the database that its model is written to, unless ``using`` names another one."""

    @property
    def db(self) -> str:
        query: Any = self
        return query._db or router.db_for_write(self.model, **query._hints)


class _PrimaryRouter:
    """A database router that lets the others decide, except within ``reads``."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        if not _decides.get():
            return None
        named = (
            other.db_for_write(model, **hints)
            for other in router.routers
            if hasattr(other, "db_for_write")
        )
        return next((found for found in named if found), None)


_PRIMARY = _PrimaryRouter()
_decides: ContextVar[bool] = ContextVar("decides", default=False)
