"""System checks for the optional packages that the settings of a site need."""

import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as CheckWarning
from django.core.management import get_commands

from rooms import extras
from rooms.checks import find_hook_problem

from .auth import tokens


@register()
def check_token_support(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a site whose clients cannot authenticate: neither by session nor by token."""
    given = getattr(settings, "SIGNALLING", {})
    if given.get("SESSION_AUTH", True) or given.get("AUTHENTICATE") or tokens.is_supported():
        return []
    return [
        Error(
            "No client can authenticate: SIGNALLING['SESSION_AUTH'] is off, and SimpleJWT, which "
            "validates access tokens, is not installed.",
            hint=f"Install it: {extras.command('jwt')}",
            id="signalling.E030",
        )
    ]


@register()
def check_channel_layer_packages(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a channel layer that cannot be imported, or that lacks the packages it needs."""
    layer: Any = getattr(settings, "CHANNEL_LAYERS", {}).get("default")
    if layer is None:  # ``checks.check_channel_layer`` reports it
        return []
    backend = layer.get("BACKEND")
    missing = [name for name in ("redis", "msgpack") if not extras.is_installed(name)]
    if missing and str(backend).startswith("signalling.layers.Redis"):
        return [
            Error(
                f"The channel layer {backend} needs {' and '.join(missing)}.",
                hint=f"Install the extra: {extras.command('redis')}",
                id="signalling.E031",
            )
        ]
    if (problem := find_hook_problem(backend)) is None:
        return []
    return [
        Error(
            f"CHANNEL_LAYERS['default']['BACKEND'] {problem}",
            hint="Set it to 'signalling.layers.LocalChannelLayer' for one process, or "
            "'signalling.layers.RedisChannelLayer' for several.",
            id="signalling.E032",
        )
    ]


@register()
def check_runserver(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if a ``runserver`` without WebSockets is about to start."""
    is_djangos = get_commands()["runserver"] in {"django.core", "django.contrib.staticfiles"}
    if sys.argv[1:2] != ["runserver"] or not is_djangos:
        return []
    return [
        CheckWarning(
            "This runserver is Django's own. It serves no WebSockets, so calls cannot start.",
            hint='Put "daphne" first in INSTALLED_APPS, or use another server, such as '
            f"python -m signalling.servers.uvicorn. Daphne's extra: {extras.command('daphne')}",
            id="signalling.W019",
        )
    ]
