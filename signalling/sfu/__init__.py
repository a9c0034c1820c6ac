"""Swappable SFU backends.

Configure one SFU::

    SIGNALLING = {"SFU": {"BACKEND": "signalling.sfu.janus.JanusSfu", "URL": "…"}}

Or configure several by alias: ``{"default": {"BACKEND": …}, "frankfurt": {…}}``. A room that needs
an SFU uses the first healthy one and stays with it.
"""

from .registry import Sfus, backend_class, configured, get_sfus

__all__ = ["Sfus", "backend_class", "configured", "get_sfus"]
