from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SignallingConfig(AppConfig):
    name = "signalling"
    label = "signalling"
    verbose_name = _("WebRTC signalling")

    def ready(self) -> None:
        from . import checks, receivers  # noqa: F401  (registers checks and signal receivers)
        from .worker import pushes

        pushes.connect()
