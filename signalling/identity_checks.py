"""System checks for the settings that decide who a client is."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, get_script_prefix, is_valid_path, reverse
from django.utils.translation import get_language

from rooms.checks import find_hook_problem

UNTHROTTLED_BACKENDS = {
    "django.contrib.auth.backends.ModelBackend",
    "django.contrib.auth.backends.AllowAllUsersModelBackend",
}


@register()
def check_hooks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require the hooks that may be empty to be import paths of callables."""
    given = getattr(settings, "SIGNALLING", {})
    return [
        Error(
            f"SIGNALLING[{key!r}] {problem}",
            hint=f"Set it to the import path of a function, such as 'myproject.calls.{key.lower()}'.",
            id="signalling.E017",
        )
        for key in ("AUTHENTICATE", "CONTEXT")
        if given.get(key) and (problem := find_hook_problem(given[key]))
    ]


@register(Tags.urls)
def check_login_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if our pages redirect to a login page that the site does not have."""
    if not _has_pages() or _exists(settings.LOGIN_URL):
        return []
    return [
        CheckWarning(
            f"The call pages redirect anonymous users to LOGIN_URL, {settings.LOGIN_URL!r}, which "
            "is not a URL of this site.",
            hint="Set LOGIN_URL to your login page, such as 'admin:login' (for staff only), or use "
            'ours: see "Pages and static files" in docs/embedding.md.',
            id="signalling.W018",
        )
    ]


@register(Tags.security, deploy=True)
def check_password_throttle(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn if passwords can be guessed without a limit (``check --deploy``)."""
    backends = settings.AUTHENTICATION_BACKENDS
    unthrottled = [path for path in backends if path in UNTHROTTLED_BACKENDS]
    if not unthrottled or any(path.startswith("axes.") for path in backends):
        return []
    return [
        CheckWarning(
            f"{unthrottled[0]} does not limit the guessing of passwords.",
            hint="In AUTHENTICATION_BACKENDS, replace it with "
            "'signalling.auth.backends.ThrottledModelBackend'.",
            id="signalling.W005",
        )
    ]


def _has_pages() -> bool:
    try:
        return bool(getattr(settings, "ROOT_URLCONF", "") and reverse("signalling:home"))
    except NoReverseMatch:
        return False


def _exists(url: Any) -> bool:
    """Return whether a URL, or the name of one, leads to a page of the site or to another server."""
    try:
        target = urlsplit(resolve_url(url))
    except NoReverseMatch:
        return False
    mount = get_script_prefix()
    if target.netloc or not target.path.startswith(mount):
        return True
    path = "/" + target.path.removeprefix(mount)
    language = get_language() or settings.LANGUAGE_CODE
    # LocaleMiddleware redirects to the path with the language.
    return bool(is_valid_path(path) or is_valid_path(f"/{language}{path}"))
