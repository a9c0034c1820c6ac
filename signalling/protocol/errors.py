"""Error codes, close codes, ``ProtocolError``, and the errors that more than one module sends."""

from __future__ import annotations

import math
from enum import IntEnum, StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Stable codes of ``error`` events, including the codes of ``rooms.exceptions``."""

    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    UNKNOWN_EVENT = "unknown_event"
    MESSAGE_TOO_LARGE = "message_too_large"
    AUTHENTICATION_REQUIRED = "authentication_required"
    TOKEN_INVALID = "token_invalid"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_REVOKED = "token_revoked"
    USER_INACTIVE = "user_inactive"
    TOKEN_SUBJECT_MISMATCH = "token_subject_mismatch"
    ROOM_NOT_FOUND = "room_not_found"
    ROOM_FULL = "room_full"
    TOO_MANY_DEVICES = "too_many_devices"
    ROOM_LOCKED = "room_locked"
    ROOM_CLOSED = "room_closed"
    ALREADY_JOINED = "already_joined"
    NOT_IN_ROOM = "not_in_room"
    PEER_NOT_FOUND = "peer_not_found"
    PEER_BUSY = "peer_busy"
    REMOVED = "removed"
    EVICTED = "evicted"
    FORBIDDEN = "forbidden"
    RESUME_INVALID = "resume_invalid"
    RESUME_EXPIRED = "resume_expired"
    RATE_LIMITED = "rate_limited"
    SFU_UNAVAILABLE = "sfu_unavailable"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class CloseCode(IntEnum):
    """The application's close codes. An ``error`` frame with the reason always precedes the close.

    Daphne drops close reasons and allows applications only 1000 and 3000-4999.
    """

    NORMAL = 1000
    PROTOCOL_VIOLATIONS = 4400
    AUTHENTICATION = 4401
    REMOVED = 4403
    HEARTBEAT = 4408
    RESUMED_ELSEWHERE = 4409
    ROOM_CLOSED = 4410
    FLOOD = 4429
    INTERNAL = 4500
    UNAVAILABLE = 4503
    TOO_SLOW = 4508


class ProtocolError(Exception):
    """A refused request: sent as an ``error`` event, and closes the socket if ``close`` is set."""

    def __init__(
        self, code: str, message: str, *, close: CloseCode | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close = close
        self.details = details


def authentication_required() -> ProtocolError:
    return ProtocolError(
        ErrorCode.AUTHENTICATION_REQUIRED,
        "Authenticate first: send a token with the handshake or an authenticate event.",
        close=CloseCode.AUTHENTICATION,
    )


def unavailable(*, close: CloseCode | None = None, retry_after: int = 2) -> ProtocolError:
    """Return the error for an outage of a database or the channel layer.

    Clients wait ``retry_after`` seconds, with jitter, and try again.
    """
    return ProtocolError(
        ErrorCode.UNAVAILABLE,
        "The service is briefly unavailable; try again.",
        close=close,
        retry_after=retry_after,
    )


def peer_not_found() -> ProtocolError:
    """Return the error for a target that is not in the room.

    The text does not tell whether the peer exists elsewhere, so that ids cannot be probed.
    """
    return ProtocolError(ErrorCode.PEER_NOT_FOUND, "No such peer in your room.")


def peer_busy() -> ProtocolError:
    return ProtocolError(
        ErrorCode.PEER_BUSY, "This peer is reading too slowly; try again.", retry_after=1
    )


def sfu_unavailable(*, retry_after: float = 2) -> ProtocolError:
    return ProtocolError(
        ErrorCode.SFU_UNAVAILABLE,
        "The media server for larger groups is unavailable; try again.",
        retry_after=retry_after,
    )


def bad_description(name: str, reason: str) -> ProtocolError:
    """Return the error for an offer or an answer that the SFU cannot use."""
    return ProtocolError(ErrorCode.BAD_REQUEST, reason, path=f"$.data.{name}.sdp")


def removed(reason: str) -> ProtocolError:
    """Return the error for a peer that had to leave. ``reason``: as in its ``peer:left``."""
    match reason:
        case "removed":
            message = "You have been removed from this room."
            return ProtocolError(ErrorCode.REMOVED, message, close=CloseCode.REMOVED)
        case "evicted":
            message = (
                "The room is full, and the host needed your seat; join again when one is free."
            )
            return ProtocolError(ErrorCode.EVICTED, message, close=CloseCode.REMOVED)
    return out_of_room()


def excluded() -> ProtocolError:
    """Return the error for a peer whose user may no longer be in its room."""
    return ProtocolError(
        ErrorCode.FORBIDDEN, "You may no longer be in this room.", close=CloseCode.REMOVED
    )


def out_of_room() -> ProtocolError:
    """Return the error for a membership that has ended although this socket received no message.

    The client reconnects to learn why.
    """
    return ProtocolError(
        ErrorCode.NOT_IN_ROOM, "You are no longer in this room.", close=CloseCode.UNAVAILABLE
    )


def resumed_elsewhere() -> ProtocolError:
    return ProtocolError(
        ErrorCode.NOT_IN_ROOM,
        "Another socket has resumed this membership.",
        close=CloseCode.RESUMED_ELSEWHERE,
    )


def heartbeat_timeout() -> ProtocolError:
    return ProtocolError(
        ErrorCode.UNAVAILABLE,
        "No message received within the heartbeat timeout.",
        close=CloseCode.HEARTBEAT,
    )


def rate_limited(wait: float, what: str, *, close: CloseCode | None = None) -> ProtocolError:
    """Return the error for a request over a limit.

    ``wait``: seconds until the next attempt may succeed; sent rounded up to a millisecond.
    """
    return ProtocolError(
        ErrorCode.RATE_LIMITED,
        f"Too many {what}; slow down.",
        close=close,
        retry_after=math.ceil(wait * 1000) / 1000,
    )


def internal(reference: str, *, close: CloseCode | None = None) -> ProtocolError:
    """Return the error for an unexpected exception; ``reference`` identifies its traceback."""
    return ProtocolError(
        ErrorCode.INTERNAL,
        "Internal error. Quote the reference when you report it.",
        close=close,
        reference=reference,
    )


def too_slow() -> ProtocolError:
    return ProtocolError(
        ErrorCode.PEER_BUSY,
        "Client is reading too slowly.",
        close=CloseCode.TOO_SLOW,
    )
