"""System checks for ``settings.SIGNALLING`` and for the settings that sockets need."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields
from itertools import takewhile
from typing import Any, Literal, get_args, get_origin, get_type_hints

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.urls import NoReverseMatch, reverse

from rooms import extras
from rooms.checks import has_one_process

from . import sfu
from .auth import origins
from .conf import RATE_LIMITS, SignallingSettings, conf

PROBES = "signalling.middleware.ProbeMiddleware"
CHECK_HOST = {
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
}


@register()
def check_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report unknown keys: a misspelt key would silently keep its default."""
    known = [field.name.upper() for field in fields(SignallingSettings)]
    return [
        Error(
            f"SIGNALLING contains the unknown key {key!r}.",
            hint=_did_you_mean(key, known),
            id="signalling.E001",
        )
        for key in getattr(settings, "SIGNALLING", {})
        if key not in known
    ]


@register()
def check_types(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report values of the wrong type, and numbers that are not positive."""
    types = get_type_hints(SignallingSettings)
    given = getattr(settings, "SIGNALLING", {})
    problems: list[CheckMessage] = []
    for key, value in given.items():
        wanted = types.get(key.lower())
        if wanted is not None and not _fits(value, wanted):
            problems.append(
                Error(
                    f"SIGNALLING[{key!r}] has the invalid value {value!r}.",
                    hint=f"It must be {_describe(wanted)}.",
                    id="signalling.E002",
                )
            )
    return problems


@register()
def check_sfu(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report SFUs without a valid backend, and what each backend's own check reports."""
    problems: list[CheckMessage] = []
    if not isinstance(conf().sfu, dict):  # ``check_types`` reports it
        return problems
    for alias, options in sfu.configured().items():
        if len(alias) > 32:
            problems.append(
                Error(
                    f"The SFU alias {alias!r} is too long.",
                    hint="It is stored with each room and has at most 32 characters.",
                    id="signalling.E005",
                )
            )
        try:
            problems += sfu.backend_class(options).check(alias, options)
        except (ImportError, KeyError, TypeError, AttributeError) as error:
            problems.append(
                Error(
                    f"The SFU {alias!r} in SIGNALLING['SFU'] has no valid backend: {error!r}.",
                    hint="Install the missing package. For Janus: "
                    f"{extras.command('janus')}; for LiveKit: {extras.command('livekit')}."
                    if isinstance(error, ModuleNotFoundError)
                    else "Set BACKEND to the import path of one, such as "
                    "{'BACKEND': 'signalling.sfu.janus.JanusSfu', 'URL': 'ws://127.0.0.1:8188'}.",
                    id="signalling.E005",
                )
            )
    return problems


@register()
def check_rate_limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report unknown classes and scopes in ``RATE_LIMITS``, and rates that are not two numbers."""
    given = getattr(settings, "SIGNALLING", {}).get("RATE_LIMITS", {})
    if not isinstance(given, dict):  # ``check_types`` reports it
        return []
    return [
        Error(
            f"SIGNALLING['RATE_LIMITS'][{cost!r}] has the invalid value {scopes!r}.",
            hint=f"The classes are {', '.join(RATE_LIMITS)}. A value is a dict of "
            "[events per second, events at once] by 'user', 'room' and 'address'.",
            id="signalling.E016",
        )
        for cost, scopes in given.items()
        if cost not in RATE_LIMITS or not _are_rates(scopes)
    ]


@register()
def check_channel_layer(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report a missing channel layer."""
    if "default" in getattr(settings, "CHANNEL_LAYERS", {}):
        return []
    return [
        Error(
            "No channel layer is configured, so peers cannot reach each other.",
            hint="Set CHANNEL_LAYERS = "
            '{"default": {"BACKEND": "signalling.layers.LocalChannelLayer"}} '
            "for one process, or a Redis layer for several.",
            id="signalling.E003",
        )
    ]


@register()
def check_origins(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report origins that match nothing, and those that pages of any site can have."""
    problems: list[CheckMessage] = []
    for origin in _entries(conf().allowed_origins):
        if origin in (origins.ANY, *origins.OPAQUE):
            problems.append(
                CheckWarning(
                    "Pages of any origin may open signalling sockets."
                    if origin == origins.ANY
                    else f"Any site may open signalling sockets from frames of origin {origin!r}.",
                    hint="List the origins of your clients in SIGNALLING['ALLOWED_ORIGINS'].",
                    id="signalling.W001",
                )
            )
        elif not isinstance(origin, str) or origins.parse_pattern(origin) is None:
            problems.append(
                Error(
                    f"SIGNALLING['ALLOWED_ORIGINS'] contains the invalid origin {origin!r}.",
                    hint="Use scheme://host[:port], such as 'https://app.example.org', "
                    "'https://*.example.org' or 'http://localhost:*', or 'null' or 'file://'. Write "
                    "an international domain in ASCII, as browsers send it ('xn--…').",
                    id="signalling.E004",
                )
            )
    return problems


@register()
def check_frame_ancestors(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Report values that are no source of ``frame-ancestors`` (CSP 3, section 6.4.2)."""
    return [
        Error(
            f"SIGNALLING['FRAME_ANCESTORS'] contains the invalid origin {origin!r}.",
            hint="Use scheme://host[:port], such as 'https://app.example.org', or \"'self'\".",
            id="signalling.E015",
        )
        for origin in _entries(conf().frame_ancestors)
        if not (isinstance(origin, str) and _FRAME_ANCESTOR.fullmatch(origin))
    ]


_FRAME_ANCESTOR = re.compile(r"'self'|https?://(?:\*\.)?[a-z0-9.-]+(?::\d+)?", re.IGNORECASE)


@register(Tags.security, deploy=True)
def check_prefix(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn about a layer of channels_redis with its default prefix (``check --deploy``)."""
    layer: Any = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {})
    is_stock = str(layer.get("BACKEND", "")).startswith("channels_redis.")
    if not is_stock or layer.get("CONFIG", {}).get("prefix"):
        return []
    return [
        CheckWarning(
            "Sites that share a Redis receive each other's messages, even with different database "
            "numbers, because channels_redis uses the same prefix for all of them.",
            hint="Set a prefix of your site in the CONFIG of the channel layer. With "
            "symmetric_encryption_keys, the layer also refuses forged messages.",
            id="signalling.W010",
        )
    ]


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn about settings that are unsuitable for production (``check --deploy``)."""
    problems: list[CheckMessage] = []
    if has_one_process():
        problems.append(
            CheckWarning(
                "This channel layer only connects the sockets of one process.",
                hint="Run a single process, or use a Redis channel layer.",
                id="signalling.W002",
            )
        )
    if getattr(settings, "SIGNALLING", {}).get("QUERY_TOKEN", True):
        problems.append(
            CheckWarning(
                "Tokens are accepted in the query string, which proxies write to their logs.",
                hint="Set SIGNALLING['QUERY_TOKEN'] = False unless a client needs it.",
                id="signalling.W003",
            )
        )
    return problems


@register(Tags.urls, deploy=True)
def check_probes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if the site refuses or redirects the probes (``check --deploy``)."""
    before = takewhile(lambda path: path != PROBES, settings.MIDDLEWARE)
    is_strict = settings.SECURE_SSL_REDIRECT or "*" not in settings.ALLOWED_HOSTS
    if not is_strict or not CHECK_HOST.intersection(before) or not _has_probes():
        return []
    return [
        CheckWarning(
            "Probes that send another Host than ALLOWED_HOSTS, or plain HTTP, do not get an answer.",
            hint=f"In MIDDLEWARE, put {PROBES!r} before Django's.",
            id="signalling.W017",
        )
    ]


def _has_probes() -> bool:
    try:
        return bool(getattr(settings, "ROOT_URLCONF", "") and reverse("signalling:live"))
    except NoReverseMatch:
        return False


def _entries(value: Any) -> Sequence[Any]:
    """Return the entries of a list in the settings; none of another type: see ``check_types``."""
    return value if isinstance(value, (list, tuple)) else ()


def _did_you_mean(key: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(str(key).upper(), known, n=1)
    return (
        f"Did you mean {matches[0]!r}?" if matches else f"Known keys: {', '.join(sorted(known))}."
    )


def _describe(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    name = getattr(wanted, "__name__", str(wanted))
    return f"a positive {name}" if wanted in (int, float) else f"a {name}"


def _are_rates(scopes: object) -> bool:
    return isinstance(scopes, dict) and all(
        scope in {"user", "room", "address"}
        and isinstance(limits, (list, tuple))
        and len(limits) == 2
        and all(_fits(limit, float) for limit in limits)
        for scope, limits in scopes.items()
    )


def _fits(value: object, wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return value in get_args(wanted)
    if wanted is bool:
        return isinstance(value, bool)
    if wanted in (int, float):
        number = isinstance(value, int if wanted is int else (int, float))
        return number and not isinstance(value, bool) and value > 0  # type: ignore[operator]
    return isinstance(value, get_origin(wanted) or wanted) or (
        get_origin(wanted) is list and isinstance(value, tuple)
    )
