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
def check_authenticate(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Require ``AUTHENTICATE`` to be the import path of a callable, if it is set."""
    path = getattr(settings, "SIGNALLING", {}).get("AUTHENTICATE")
    if not path or not (problem := find_hook_problem(path)):
        return []
    return [
        Error(
            f"SIGNALLING['AUTHENTICATE'] {problem}",
            hint="Set it to the import path of a function, such as 'myproject.calls.authenticate'.",
            id="signalling.E017",
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
            hint="In AUTHENTICATION_BACKENDS, replace it by "
            "'signalling.auth.backends.ThrottledModelBackend'.",
            id="signalling.W005",
        )
    ]
