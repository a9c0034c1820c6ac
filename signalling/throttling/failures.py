"""Slows down who guesses at room codes and tokens: one throttle for the process, see ``throttling``."""

from __future__ import annotations

import math
from functools import cache

from django.core.signals import setting_changed

from signalling.conf import conf
from signalling.protocol import CloseCode, ErrorCode, ProtocolError

from .buckets import FailureThrottle


@cache
def _throttle() -> FailureThrottle:
    return FailureThrottle(conf().failure_limit, conf().failure_window)


def check(*keys: str, close: CloseCode | None = None) -> None:
    """Raise ``rate_limited`` where one of the keys has failed too often of late."""
    wait = _throttle().wait(*keys)
    if wait:
        raise ProtocolError(
            ErrorCode.RATE_LIMITED,
            "Too many failed attempts; wait a while.",
            close=close,
            retry_after=math.ceil(wait),
        )


def failed(*keys: str) -> None:
    """Count a failure for each key."""
    _throttle().failed(*keys)


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "SIGNALLING":
        _throttle.cache_clear()


setting_changed.connect(_forget)
