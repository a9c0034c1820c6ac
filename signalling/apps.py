from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from rooms import extras


class SignallingConfig(AppConfig):
    name = "signalling"
    label = "signalling"
    verbose_name = _("WebRTC signalling")

    def ready(self) -> None:
        from . import (  # noqa: F401  (registers checks and signal receivers)
            checks,
            package_checks,
            receivers,
        )
        from .worker import pushes

        pushes.connect()
        if extras.is_installed("prometheus_client"):
            from . import prometheus  # noqa: F401  (registers the collector)
