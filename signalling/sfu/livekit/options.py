"""The options of a ``LiveKitSfu`` and their system checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.contrib.staticfiles import finders
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

MAX_TOKEN_SECONDS = (
    600  # LiveKit itself refreshes the tokens of connected clients with this lifetime
)
MIN_SECRET_LENGTH = 32
OPTIONS = {
    *("BACKEND", "URL", "API_URL", "API_KEY", "API_SECRET"),
    *("TOKEN_SECONDS", "CLIENT", "ROOM_PREFIX"),
}


def api_url(options: dict[str, Any]) -> str:
    """Return the HTTP URL of LiveKit's API: ``API_URL``, or else ``URL`` with its scheme changed."""
    url: str = options.get("API_URL") or options["URL"]
    return "http" + url.removeprefix("ws") if url.startswith("ws") else url


def is_url(text: str) -> bool:
    """Return whether a browser can fetch ``text`` as is: an absolute URL or an absolute path."""
    return text.startswith("/") or bool(urlsplit(text).scheme)


def check(alias: str, options: dict[str, Any]) -> list[CheckMessage]:
    """Return the system check messages for the options of a ``LiveKitSfu``."""
    checks = (_check_urls, _check_keys, _check_token_seconds, _check_strings, _check_unknown)
    return [message for check in checks for message in check(alias, options)]


def _check_urls(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    if not _is_address(options.get("URL"), "ws", "wss"):
        yield Error(
            f"SFU {alias!r}: URL is {options.get('URL')!r}, not a WebSocket URL.",
            hint="Set it to the URL that clients use, such as 'wss://livekit.example.org'.",
            id="signalling.E008",
        )
    if options.get("API_URL") and not _is_address(options["API_URL"], "http", "https"):
        yield Error(
            f"SFU {alias!r}: API_URL is {options['API_URL']!r}, not an HTTP URL.",
            hint="Set it to the URL that this server uses, such as 'http://10.0.0.5:7880', "
            "or remove it.",
            id="signalling.E008",
        )


def _check_keys(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    key, secret = options.get("API_KEY"), options.get("API_SECRET")
    if not isinstance(key, str) or not key:
        yield Error(
            f"SFU {alias!r}: API_KEY is missing.",
            hint="Use one of the keys in LiveKit's configuration.",
            id="signalling.E009",
        )
    if not isinstance(secret, str) or len(secret) < MIN_SECRET_LENGTH:
        yield Error(
            f"SFU {alias!r}: API_SECRET must have at least {MIN_SECRET_LENGTH} characters.",
            hint="It signs the access tokens. Generate one with LiveKit's `generate-keys`.",
            id="signalling.E009",
        )


def _check_token_seconds(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    seconds = options.get("TOKEN_SECONDS", MAX_TOKEN_SECONDS)
    is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not is_number or not 1 <= seconds <= MAX_TOKEN_SECONDS:
        yield Error(
            f"SFU {alias!r}: TOKEN_SECONDS is {seconds!r}.",
            hint=f"Set it to an integer from 1 to {MAX_TOKEN_SECONDS}. Clients need a token only to "
            "connect, and tokens cannot be revoked.",
            id="signalling.E010",
        )


def _check_strings(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    for key in ("CLIENT", "ROOM_PREFIX"):
        if not isinstance(options.get(key, ""), str):
            yield Error(
                f"SFU {alias!r}: {key} is {options[key]!r}.",
                hint="It must be a string.",
                id="signalling.E011",
            )
            return
    client = options.get("CLIENT", "")
    if client and not is_url(client) and not _is_static(client):
        yield CheckWarning(
            f"SFU {alias!r}: the static file {client!r} in CLIENT does not exist.",
            hint="Add livekit-client.esm.mjs from the npm package livekit-client to your static files.",
            id="signalling.W004",
        )


def _check_unknown(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    for key in sorted(options.keys() - OPTIONS):
        yield Error(
            f"SFU {alias!r}: unknown option {key!r}.",
            hint=f"Known options: {', '.join(sorted(OPTIONS))}.",
            id="signalling.E012",
        )


def _is_address(url: object, *schemes: str) -> bool:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return False
    return parts is not None and parts.scheme in schemes and bool(parts.hostname)


def _is_static(path: str) -> bool:
    """Return whether a static file exists, or True if the site does not use Django's finders."""
    return not apps.is_installed("django.contrib.staticfiles") or finders.find(path) is not None
