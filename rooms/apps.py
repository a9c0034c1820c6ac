import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

OURS = Path(__file__).resolve().parent


class RoomsConfig(AppConfig):
    name = "rooms"
    # A host site may have its own app "rooms", so the label and the tables have another name.
    label = "signalling_rooms"
    verbose_name = _("Call rooms")
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        check_other_rooms()
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        from . import checks, database_checks, receivers  # noqa: F401  (connects the receivers)


def check_other_rooms() -> None:
    """Raise ``ImproperlyConfigured`` if we hide a package ``rooms`` of the site.

    ``signalling.apps`` reports the opposite: that package comes first in ``sys.path``.
    """
    for entry in sys.path:
        found = PathFinder.find_spec("rooms", [entry])
        if found is None or found.origin is None:  # a folder without ``__init__.py``
            continue
        other = Path(found.origin).resolve().parent
        if other != OURS and is_other_app(other):
            raise ImproperlyConfigured(
                f"The package `rooms` of django-signalling in {OURS} hides that in {other}. Move "
                "yours into a package of your project, such as `myproject.rooms`; its label stays "
                '`rooms`, and so do its tables. See "A site with its own rooms" in '
                "docs/embedding.md."
            )


def is_other_app(folder: Path) -> bool:
    """Return whether a folder has a Django app, and not a copy of this one, such as a clone."""
    names = {path.stem for path in folder.iterdir()}
    own = f'label = "{RoomsConfig.label}"'
    config = folder / "apps.py"
    is_copy = config.is_file() and own in config.read_text(errors="replace")
    return bool(names & {"apps", "models"}) and not is_copy
