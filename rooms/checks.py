"""System checks of the domain.

``signalling_rooms.E…`` must be mended, ``signalling_rooms.W…`` deserve a look.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.utils.module_loading import import_string

from .conf import RoomSettings, conf


@register()
def check_hooks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every hook in ``SIGNALLING`` must be the import path of something that can be called."""
    hooks = [field.name for field in fields(RoomSettings) if field.metadata.get("hook")]
    return [
        Error(
            f"SIGNALLING[{name.upper()!r}] {problem}",
            hint="Give the import path of a function, such as 'myproject.calls.can_join'.",
            id="signalling_rooms.E001",
        )
        for name in hooks
        if (problem := _problem_of_hook(getattr(conf(), name)))
    ]


def _problem_of_hook(path: str) -> str | None:
    try:
        found = import_string(path)
    except (ImportError, AttributeError, TypeError) as error:
        return f"cannot be imported: {error}"
    return None if callable(found) else f"is {path!r}, which cannot be called."


@register()
def check_limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The limits for new rooms must be ones that the table accepts."""
    limits = conf().p2p_limit, conf().total_limit
    if all(isinstance(limit, int) for limit in limits) and 1 <= limits[0] <= min(10, limits[1]):
        return []
    return [
        Error(
            f"SIGNALLING has P2P_LIMIT {limits[0]!r} and TOTAL_LIMIT {limits[1]!r}.",
            hint="P2P_LIMIT is a number from 1 to 10, and TOTAL_LIMIT is at least as large.",
            id="signalling_rooms.E002",
        )
    ]


@register()
def check_leases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """One renewal that comes late must not cost a process its peers."""
    lease, renewal = conf().lease_seconds, conf().lease_renewal
    if (
        all(isinstance(time, (int, float)) for time in (lease, renewal))
        and 0 < 3 * renewal <= lease
    ):
        return []
    return [
        Error(
            f"SIGNALLING has LEASE_SECONDS {lease!r} and LEASE_RENEWAL {renewal!r}.",
            hint="LEASE_RENEWAL is at most a third of LEASE_SECONDS, such as 3 and 10.",
            id="signalling_rooms.E003",
        )
    ]


@register()
def check_switch(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A switch must be possible, and a room must not switch to and fro."""
    problems: list[CheckMessage] = []
    quorum, small, full = conf().switch_quorum, conf().back_to_mesh_peers, conf().p2p_limit
    if not isinstance(quorum, (int, float)) or not 0 < quorum <= 1:
        problems.append(
            Error(
                f"SIGNALLING has SWITCH_QUORUM {quorum!r}.",
                hint="It is the part of a room's peers, such as 0.8.",
                id="signalling_rooms.E004",
            )
        )
    if conf().back_to_mesh and small >= full:
        problems.append(
            CheckWarning(
                f"Rooms become a mesh again at {small} peers, and a mesh is full with {full}.",
                hint="Let BACK_TO_MESH_PEERS be smaller than P2P_LIMIT, or rooms switch to and fro.",
                id="signalling_rooms.W002",
            )
        )
    return problems


@register(Tags.database)
def check_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A deferred SQLite transaction that reads and then writes fails at once under contention."""
    return [
        CheckWarning(
            f"The SQLite database {alias!r} does not begin its transactions with IMMEDIATE.",
            hint='Set "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": '
            '"PRAGMA journal_mode=WAL;"}, or use PostgreSQL: joins of one room at the same '
            'moment fail with "database is locked" otherwise.',
            id="signalling_rooms.W001",
        )
        for alias, database in settings.DATABASES.items()
        if database["ENGINE"].endswith("sqlite3")
        and str(database.get("OPTIONS", {}).get("transaction_mode", "")).upper() != "IMMEDIATE"
    ]
