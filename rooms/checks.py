"""System checks of the domain: ``rooms.E…`` must be mended, ``rooms.W…`` deserve a look."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.utils.module_loading import import_string

from .conf import conf

HOOKS = ("make_code", "can_create", "can_join", "user_info")


@register()
def check_hooks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every hook in ``SIGNALLING`` must be importable."""
    problems: list[CheckMessage] = []
    for name in HOOKS:
        path = getattr(conf(), name)
        try:
            import_string(path)
        except (ImportError, AttributeError, TypeError) as error:
            problems.append(
                Error(
                    f"SIGNALLING[{name.upper()!r}] cannot be imported: {error}",
                    hint="Give the import path of a function, such as 'myproject.calls.can_join'.",
                    id="rooms.E001",
                )
            )
    return problems


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
            id="rooms.E002",
        )
    ]


@register()
def check_other_app(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """ "rooms" is a common name: say so where the site's own package has taken its place."""
    config = apps.get_app_config("signalling_rooms")
    if hasattr(config.models_module, "Participant"):
        return []
    return [
        Error(
            f"The package 'rooms' at {config.path} is not django-signalling's.",
            hint="Rename the site's own 'rooms' package, or put django-signalling first on the path.",
            id="rooms.E003",
        )
    ]


@register(Tags.database)
def check_sqlite(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A deferred SQLite transaction that reads and then writes fails at once under contention."""
    return [
        CheckWarning(
            f"The SQLite database {alias!r} does not begin its transactions with IMMEDIATE.",
            hint='Set "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": '
            '"PRAGMA journal_mode=WAL;"}, or use PostgreSQL: joins of one room at the same '
            'moment fail with "database is locked" otherwise.',
            id="rooms.W001",
        )
        for alias, database in settings.DATABASES.items()
        if database["ENGINE"].endswith("sqlite3")
        and str(database.get("OPTIONS", {}).get("transaction_mode", "")).upper() != "IMMEDIATE"
    ]
