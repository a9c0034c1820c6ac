"""System checks for the settings that decide who a client is."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning

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
            hint="In AUTHENTICATION_BACKENDS, replace it by "
            "'signalling.auth.backends.ThrottledModelBackend'.",
            id="signalling.W005",
        )
    ]
