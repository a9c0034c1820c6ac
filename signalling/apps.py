from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

OURS = Path(__file__).resolve().parents[1] / "rooms"


class SignallingConfig(AppConfig):
    name = "signalling"
    label = "signalling"
    verbose_name = _("WebRTC signalling")

    def __init__(self, app_name: str, app_module: Any) -> None:
        check_rooms()
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        if not apps.is_installed("rooms"):
            raise ImproperlyConfigured(
                'The app "signalling" needs the app "rooms": add "rooms" to INSTALLED_APPS.'
            )
        from rooms import extras

        from . import (  # noqa: F401  (registers checks and signal receivers)
            checks,
            identity_checks,
            package_checks,
            receivers,
        )
        from .worker import pushes

        pushes.connect()
        if extras.is_installed("prometheus_client"):
            from . import prometheus  # noqa: F401  (registers the collector)


def check_rooms() -> None:
    """Raise ``ImproperlyConfigured`` if a package of the site hides our package ``rooms``.

    Nothing of ``rooms`` may be imported before: it would be the site's.
    """
    found = find_spec("rooms")
    folders = [] if found is None else [*(found.submodule_search_locations or ()), found.origin]
    if OURS in [Path(folder).resolve() for folder in folders if folder]:
        return
    raise ImproperlyConfigured(
        f"The package `rooms` in {folders[0] if folders else 'no folder'} hides that of "
        f"django-signalling in {OURS}. Move yours into a package of your project, such as "
        '`myproject.rooms`; its label stays `rooms`, and so do its tables. See "A site with its own '
        'rooms" in docs/embedding.md.'
    )
