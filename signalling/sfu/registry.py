"""The SFUs in ``SIGNALLING["SFU"]``: one instance of each backend per event loop."""

from __future__ import annotations

import logging
from typing import Any

from django.utils.module_loading import import_string

from signalling.conf import conf
from signalling.transport.loops import PerLoop

from .base import Sfu

logger = logging.getLogger("signalling")

DEFAULT = "default"


def configured() -> dict[str, dict[str, Any]]:
    """Return the options of each SFU by alias. Empty if the site has no SFU."""
    options = conf().sfu
    return {DEFAULT: options} if "BACKEND" in options else options


def backend_class(options: dict[str, Any]) -> type[Sfu]:
    """Return the class that ``BACKEND`` names. Raises ``ImportError``."""
    found: type[Sfu] = import_string(options["BACKEND"])
    return found


class Sfus(dict[str, Sfu]):
    """The SFUs of one event loop, by alias."""

    async def first_healthy(self) -> str:
        """Return the alias of the first healthy SFU, or an empty string if there is none."""
        for alias, sfu in self.items():
            if await sfu.is_healthy():
                return alias
        return ""

    async def close(self) -> None:
        """Close all SFUs. One that fails does not keep the others open."""
        for alias, sfu in self.items():
            try:
                await sfu.close()
            except Exception:
                logger.exception("SFU %r could not be closed", alias)


def _make_sfus() -> Sfus:
    return Sfus(
        {alias: backend_class(options)(alias, options) for alias, options in configured().items()}
    )


_sfus = PerLoop(_make_sfus)


def get_sfus() -> Sfus:
    """Return the SFUs of the running event loop. They connect when they are first used."""
    return _sfus.get()
