from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RoomsConfig(AppConfig):
    name = "rooms"
    # "rooms" is a likely name of an app of the host site, so the label and the tables are ours alone.
    label = "signalling_rooms"
    verbose_name = _("Call rooms")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers  # noqa: F401  (they register themselves)
