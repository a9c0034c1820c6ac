"""The leeway for the times in tokens, because the clocks of two servers differ.

SimpleJWT's default is 0: a token that one server has just issued is not valid yet for another one
whose clock is a second behind, and clients take that as final.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

DEFAULT = timedelta(seconds=30)


def leeway() -> timedelta:
    """Return ``SIMPLE_JWT["LEEWAY"]``; 30 s if the site has not set it."""
    given: float | timedelta | None = getattr(settings, "SIMPLE_JWT", {}).get("LEEWAY", DEFAULT)
    return given if isinstance(given, timedelta) else timedelta(seconds=given or 0)
