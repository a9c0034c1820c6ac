"""System checks for the optional packages that the settings of a site need."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from rooms import extras

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
    """Report a Redis channel layer without the packages that it needs."""
    layer: Any = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {})
    missing = [name for name in ("redis", "msgpack") if not extras.is_installed(name)]
    if not missing or not str(layer.get("BACKEND")).startswith("signalling.layers.Redis"):
        return []
    return [
        Error(
            f"The channel layer {layer['BACKEND']} needs {' and '.join(missing)}.",
            hint=f"Install the extra: {extras.command('redis')}",
            id="signalling.E031",
        )
    ]
