from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RoomsConfig(AppConfig):
    name = "rooms"
    # A host site may have its own app "rooms", so the label and the tables have another name.
    label = "signalling_rooms"
    verbose_name = _("Call rooms")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, receivers  # noqa: F401  (connects the receivers)
