"""What a site says of its LiveKit, and what can be wrong with that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.contrib.staticfiles import finders
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning

MAX_TOKEN_SECONDS = 600  # LiveKit itself renews the tokens of whoever is connected for as long
SECRET_LENGTH = 32
KNOWN = {
    *("BACKEND", "URL", "API_URL", "API_KEY", "API_SECRET"),
    *("TOKEN_SECONDS", "CLIENT", "ROOM_PREFIX"),
}


def api_url(options: dict[str, Any]) -> str:
    """Return where this server reaches LiveKit: where clients do, unless a site says otherwise."""
    given: str = options.get("API_URL") or options["URL"]
    return "http" + given.removeprefix("ws") if given.startswith("ws") else given


def is_url(text: str) -> bool:
    """Tell whether a browser can fetch it as it is: a URL, or a path from the root."""
    return text.startswith("/") or bool(urlsplit(text).scheme)


def check(alias: str, options: dict[str, Any]) -> list[CheckMessage]:
    """Return what is wrong with the options of a ``LiveKitSfu``."""
    problems = (_urls, _keys, _token_seconds, _texts, _unknown)
    return [problem for find in problems for problem in find(alias, options)]


def _urls(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    if not _is_address(options.get("URL"), "ws", "wss"):
        yield Error(
            f"The SFU {alias!r} has the URL {options.get('URL')!r}.",
            hint="Say where clients reach LiveKit, such as 'wss://livekit.example.org'.",
            id="signalling.E008",
        )
    if options.get("API_URL") and not _is_address(options["API_URL"], "http", "https"):
        yield Error(
            f"The SFU {alias!r} has the API_URL {options['API_URL']!r}.",
            hint="Say where this server reaches LiveKit, such as 'http://10.0.0.5:7880'; or leave it out.",
            id="signalling.E008",
        )


def _keys(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    key, secret = options.get("API_KEY"), options.get("API_SECRET")
    if not isinstance(key, str) or not key:
        yield Error(
            f"The SFU {alias!r} has no API_KEY.",
            hint="It is one of the keys in LiveKit's configuration.",
            id="signalling.E009",
        )
    if not isinstance(secret, str) or len(secret) < SECRET_LENGTH:
        yield Error(
            f"The SFU {alias!r} has no API_SECRET of {SECRET_LENGTH} characters or more.",
            hint="It signs who may enter which room: have LiveKit's generate-keys make one.",
            id="signalling.E009",
        )


def _token_seconds(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    seconds = options.get("TOKEN_SECONDS", MAX_TOKEN_SECONDS)
    is_number = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not is_number or not 1 <= seconds <= MAX_TOKEN_SECONDS:
        yield Error(
            f"The SFU {alias!r} has the TOKEN_SECONDS {seconds!r}.",
            hint=f"A token is needed to connect, and can not be revoked: 1 to {MAX_TOKEN_SECONDS}.",
            id="signalling.E010",
        )


def _texts(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    for key in ("CLIENT", "ROOM_PREFIX"):
        if not isinstance(options.get(key, ""), str):
            yield Error(
                f"The SFU {alias!r} has the {key} {options[key]!r}.",
                hint="It must be a str.",
                id="signalling.E011",
            )
            return
    client = options.get("CLIENT", "")
    if client and not is_url(client) and not _is_static(client):
        yield CheckWarning(
            f"The CLIENT of the SFU {alias!r} is no static file: {client!r}.",
            hint="Put livekit-client.esm.mjs of the npm package livekit-client among your static files.",
            id="signalling.W004",
        )


def _unknown(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    for key in sorted(options.keys() - KNOWN):
        yield Error(
            f"The SFU {alias!r} has no option {key!r}.",
            hint=f"Known options: {', '.join(sorted(KNOWN))}.",
            id="signalling.E012",
        )


def _is_address(url: object, *schemes: str) -> bool:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return False
    return parts is not None and parts.scheme in schemes and bool(parts.hostname)


def _is_static(path: str) -> bool:
    """Tell whether it is, as far as can be told: a site may serve its files by other means."""
    return not apps.is_installed("django.contrib.staticfiles") or finders.find(path) is not None
