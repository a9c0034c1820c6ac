"""The refusals that more than one module says, each in one place."""

from __future__ import annotations

import math

from rooms.exceptions import RoomError

from .protocol import CloseCode, ErrorCode, ProtocolError


def authentication_required() -> ProtocolError:
    return ProtocolError(
        ErrorCode.AUTHENTICATION_REQUIRED,
        "Authenticate first: send a token with the handshake or an authenticate event.",
        close=CloseCode.AUTHENTICATION,
    )


def unavailable(*, close: CloseCode | None = None, retry_after: int = 2) -> ProtocolError:
    """A store is away; the client tries again, with jitter."""
    return ProtocolError(
        ErrorCode.UNAVAILABLE,
        "The service is briefly unavailable; try again.",
        close=close,
        retry_after=retry_after,
    )


def peer_not_found() -> ProtocolError:
    """The target is no peer of the sender's room: the same words for whatever else it is."""
    return ProtocolError(ErrorCode.PEER_NOT_FOUND, "There is no such peer in your room.")


def peer_busy() -> ProtocolError:
    return ProtocolError(
        ErrorCode.PEER_BUSY, "This peer does not keep up; try again.", retry_after=1
    )


def sfu_unavailable(*, retry_after: float = 2) -> ProtocolError:
    return ProtocolError(
        ErrorCode.SFU_UNAVAILABLE,
        "The media server for larger groups cannot be reached; try again.",
        retry_after=retry_after,
    )


def bad_description(name: str, reason: str) -> ProtocolError:
    """An SFU cannot use an offer or an answer."""
    return ProtocolError(ErrorCode.BAD_REQUEST, reason, path=f"$.data.{name}.sdp")


def removed() -> ProtocolError:
    return ProtocolError(
        ErrorCode.REMOVED, "You have been removed from this room.", close=CloseCode.REMOVED
    )


def out_of_room() -> ProtocolError:
    """The membership has ended without this socket hearing of it; it comes back to learn why."""
    return ProtocolError(
        ErrorCode.NOT_IN_ROOM, "You are not in this room any more.", close=CloseCode.UNAVAILABLE
    )


def resumed_elsewhere() -> ProtocolError:
    return ProtocolError(
        ErrorCode.NOT_IN_ROOM,
        "Another socket has resumed this membership.",
        close=CloseCode.RESUMED_ELSEWHERE,
    )


def rate_limited(wait: float, what: str, *, close: CloseCode | None = None) -> ProtocolError:
    """``wait``: seconds until there is room again, rounded up to a millisecond."""
    return ProtocolError(
        ErrorCode.RATE_LIMITED,
        f"Too many {what}; slow down.",
        close=close,
        retry_after=math.ceil(wait * 1000) / 1000,
    )


def internal(reference: str, *, close: CloseCode | None = None) -> ProtocolError:
    """A fault of ours; ``reference`` finds it in the log."""
    return ProtocolError(
        ErrorCode.INTERNAL,
        "Something went wrong here; it was logged.",
        close=close,
        reference=reference,
    )


def too_slow() -> ProtocolError:
    return ProtocolError(
        ErrorCode.PEER_BUSY,
        "You do not keep up with what you are sent.",
        close=CloseCode.TOO_SLOW,
    )


def from_domain(error: RoomError) -> ProtocolError:
    refusal = ProtocolError(error.code, str(error))
    refusal.details = dict(error.details)
    return refusal
