"""The primary/replica router of Django's documentation, with a replica that is far behind."""

from __future__ import annotations

import copy
import sqlite3
from pathlib import Path
from typing import Any

from django.db import connections
from pytest_django import Settings

stale: list[str] = []
"""The models that were read from the replica."""


class Router:
    """https://docs.djangoproject.com/en/stable/topics/db/multi-db/#an-example"""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        stale.append(model.__name__)
        return "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "primary"

    def allow_relation(self, *objects: Any, **hints: Any) -> bool:
        return True


def add_primary(folder: Path) -> None:
    """Add the database ``primary``, before the tests that name it begin."""
    options: dict[str, Any] = copy.deepcopy(connections["default"].settings_dict)
    options["NAME"] = str(folder / "primary.sqlite3")
    with sqlite3.connect(connections["default"].settings_dict["NAME"]) as source:
        source.backup(target := sqlite3.connect(options["NAME"]))
    target.close()
    connections.settings["primary"] = options


def remove_primary() -> None:
    connections["primary"].close()
    del connections["primary"], connections.settings["primary"]


def use_replica(settings: Settings) -> None:
    """Let ``default`` be the replica, with no rows, and write to ``primary``."""
    settings.DATABASE_ROUTERS = [f"{__name__}.Router"]
    stale.clear()
