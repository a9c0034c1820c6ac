"""Count guesses at access tokens, for all workers together. Blocking, like ``rooms.failures``."""

from __future__ import annotations

from rooms.failures import Throttle

tokens = Throttle("token", is_shared=True)


def wrong_token(address: str) -> int:
    """Count an invalid token from an address; return 0, or the seconds until the next attempt.

    Nothing is counted during a delay. Call it for invalid tokens only: a valid one is never refused,
    because many clients may share the address. An invalid one is refused anyway, so the delay is only
    a request to the client.
    """
    if wait := tokens.wait(address):
        return wait
    tokens.failed(address)
    return 0
