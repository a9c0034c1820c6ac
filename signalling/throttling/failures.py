"""Throttle guesses at access tokens, for all workers together. Blocking, like ``rooms.failures``."""

from __future__ import annotations

from rooms.exceptions import RateLimited
from rooms.failures import Throttle
from signalling.protocol import CloseCode, ErrorCode, ProtocolError

tokens = Throttle("token")


def wrong_token(address: str) -> None:
    """Count an invalid token from an address.

    Raise ``ProtocolError`` with the code ``rate_limited`` and the close code 4429, and count
    nothing, if there were too many. Call it for invalid tokens only: a valid one is never refused,
    because an attacker may share the address of a legitimate client.
    """
    try:
        tokens.check(address)
    except RateLimited as refusal:
        raise ProtocolError(
            ErrorCode.RATE_LIMITED, str(refusal), close=CloseCode.FLOOD, **refusal.details
        ) from None
    tokens.failed(address)
