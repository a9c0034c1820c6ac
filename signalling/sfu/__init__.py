"""Swappable SFU backends: ``SIGNALLING["SFU"] = {"BACKEND": "signalling.sfu.janus.JanusSfu", "URL": …}``.

Or several, each by its alias, ``{"default": {"BACKEND": …}, "frankfurt": {…}}``: a room is routed through
the first that answers, and stays with it.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from django.utils.module_loading import import_string

from signalling.conf import conf

from .base import Sfu

DEFAULT = "default"


def configured() -> dict[str, dict[str, Any]]:
    """Return the options of each SFU by its alias; none where the site has no SFU."""
    given = conf().sfu
    return {DEFAULT: given} if "BACKEND" in given else given


def backend(options: dict[str, Any]) -> type[Sfu]:
    """Return the class that options name. Raises ``ImportError``."""
    found: type[Sfu] = import_string(options["BACKEND"])
    return found


class Sfus(dict[str, Sfu]):
    """The SFUs of one event loop, by alias."""

    async def first_healthy(self) -> str:
        """Return the alias of an SFU that answers, or an empty string."""
        for alias, sfu in self.items():
            if await sfu.is_healthy():
                return alias
        return ""

    async def close(self) -> None:
        for sfu in self.values():
            await sfu.close()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Sfus] = WeakKeyDictionary()


def get_sfus() -> Sfus:
    """Return the SFUs of the running event loop. Nothing is connected before it is used."""
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        _by_loop[loop] = Sfus(
            {alias: backend(options)(alias, options) for alias, options in configured().items()}
        )
    return _by_loop[loop]
