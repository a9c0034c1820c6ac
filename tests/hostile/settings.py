"""The servers under attack, and their limits."""

from __future__ import annotations

from signalling.conf import SignallingSettings
from tests.integration.servers import WITHOUT_LIMITS, ServerName

SERVERS: list[ServerName] = ["daphne", "uvicorn"]

WITH_LIMITS = {name: getattr(SignallingSettings(), name.lower()) for name in WITHOUT_LIMITS}
"""The defaults of the limits that ``WITHOUT_LIMITS`` lifts."""
