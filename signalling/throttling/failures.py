"""Throttles failed joins and authentications with one ``FailureThrottle`` per process."""

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
    """Raise a ``ProtocolError`` with the code ``rate_limited`` if a key has failed too often.

    ``close``: the close code of the error, ``None`` to keep the socket open.
    """
    wait = _throttle().wait(*keys)
    if wait:
        raise ProtocolError(
            ErrorCode.RATE_LIMITED,
            "Too many failed attempts; try again later.",
            close=close,
            retry_after=math.ceil(wait),
        )


def failed(*keys: str) -> None:
    """Count a failure for each key, such as ``code:<user id>`` or ``token:<address>``."""
    _throttle().failed(*keys)


def _reset(*, setting: str, **kwargs: object) -> None:
    if setting == "SIGNALLING":
        _throttle.cache_clear()


setting_changed.connect(_reset)
