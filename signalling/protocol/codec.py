"""Decode frames from clients and encode frames for them. Pure functions on top of msgspec."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from .candidates import normalise
from .errors import CloseCode, ErrorCode, ProtocolError, authentication_required
from .events import Error, RelayedAnswer, RelayedIce, RelayedOffer, ServerEvent
from .identification import identify
from .names import SFU_SUBSCRIBE, RequestId
from .requests import (
    CLIENT_EVENTS,
    Authenticate,
    ClientEvent,
    Relay,
    WebrtcAnswer,
    WebrtcIce,
    WebrtcOffer,
)

# --- In ---------------------------------------------------------------------------------------


class FrameLimits(Struct, frozen=True, kw_only=True):
    """The largest frame, SDP and candidate in bytes, and the deepest nesting of JSON.

    Unless the client ``is_authenticated``, only ``authenticate`` is accepted.
    """

    frame: int = 64 * 1024
    sdp: int = 48 * 1024
    candidate: int = 4 * 1024
    depth: int = 16
    is_authenticated: bool = True


class Request(Struct, frozen=True):
    """A decoded frame. ``id`` is the client's correlation id and is returned with the answer."""

    event: ClientEvent
    id: RequestId | None


class _Envelope(Struct):
    event: str
    data: Raw = Raw(b"{}")
    id: RequestId | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_event = {name: msgspec.json.Decoder(type_).decode for name, type_ in CLIENT_EVENTS.items()}
_decode_candidate = msgspec.json.Decoder(WebrtcIce.payload_type).decode
_decode_description: dict[type[Relay], Callable[[Any], Any]] = {
    relay: msgspec.json.Decoder(relay.payload_type).decode for relay in (WebrtcOffer, WebrtcAnswer)
}


class FrameRefused(ProtocolError):
    """Raised for a frame that is not a valid request."""

    request_id: RequestId | None = None
    request_event: str | None = None

    @property
    def was_read(self) -> bool:
        """Whether the frame was small enough to be parsed."""
        return self.code != ErrorCode.MESSAGE_TOO_LARGE or "path" in self.details


def decode(frame: str | bytes, limits: FrameLimits) -> Request:
    """Return the request in a frame, in time that is linear in the frame's length.

    Raises ``FrameRefused`` with the code ``message_too_large``, ``bad_json``, ``bad_request``
    (``path`` is the JSON path of the fault), ``unknown_event`` or ``authentication_required``. Of
    duplicate keys the last one wins, as in ``JSON.parse``.
    """
    try:
        return _decode(frame, limits)
    except FrameRefused as refusal:
        refusal.request_id, refusal.request_event = identify(frame[: limits.frame])
        raise


def _decode(frame: str | bytes, limits: FrameLimits) -> Request:
    if _size(frame) > limits.frame:
        raise FrameRefused(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"A frame has at most {limits.frame} bytes.",
            close=CloseCode.PROTOCOL_VIOLATIONS,
        )
    if isinstance(frame, bytes):  # the JSON decoders do not check the UTF-8 of parts they skip
        try:
            frame = frame.decode()
        except UnicodeDecodeError:
            raise FrameRefused(ErrorCode.BAD_JSON, "The frame is not UTF-8.") from None
    if depth_exceeds(frame, limits.depth):
        raise FrameRefused(
            ErrorCode.BAD_REQUEST, f"JSON may be nested {limits.depth} levels deep.", path="$"
        )
    envelope = _read(_decode_envelope, frame, "$")
    if not limits.is_authenticated and envelope.event != Authenticate.event:
        required = authentication_required()
        raise FrameRefused(required.code, required.message, close=required.close)
    decode_event = _decode_event.get(envelope.event)
    if decode_event is None:
        raise FrameRefused(ErrorCode.UNKNOWN_EVENT, "Unknown event.")
    # Some clients send `"data": null` for an event without data.
    data = b"{}" if bytes(envelope.data) == b"null" else envelope.data
    event = _read(decode_event, data, "$.data")
    if isinstance(event, WebrtcIce):
        _check_candidate(event, limits)
    elif isinstance(event, Relay):
        _check_description(event, limits)
    return Request(event, envelope.id)


def _check_candidate(event: WebrtcIce, limits: FrameLimits) -> None:
    candidate = event.candidate
    if len(memoryview(candidate)) > limits.candidate:
        raise _too_large(event, limits.candidate)
    try:
        _decode_candidate(candidate)
    except msgspec.MsgspecError:
        event.candidate = _read(normalise, candidate, "$.data.", event.payload_name)


def _check_description(event: Relay, limits: FrameLimits) -> None:
    payload, limit = event.payload, limits.sdp
    value = _read(_decode_description[type(event)], payload, "$.data.", event.payload_name)
    if event.target_peer_id == SFU_SUBSCRIBE:
        limit = limits.frame  # one answer describes the streams of every peer in the room
        if value.type == "pranswer":
            path = f"$.data.{event.payload_name}.type"
            raise FrameRefused(ErrorCode.BAD_REQUEST, "An SFU needs a final answer.", path=path)
    size = len(memoryview(payload))
    if size > limit:  # JSON text is never shorter than its value
        size = len(value.sdp.encode())
    if size > limit:
        raise _too_large(event, limit)


def _too_large(event: Relay, limit: int) -> FrameRefused:
    path = f"$.data.{event.payload_name}"
    return FrameRefused(ErrorCode.MESSAGE_TOO_LARGE, f"At most {limit} bytes.", path=path)


def _read(decode: Callable[[Any], Any], text: str | Raw | bytes, path: str, name: str = "") -> Any:
    try:
        return decode(text)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `")
        where = path + name + where.rstrip("`").removeprefix("$")
        # The reason may quote the invalid value, which may be as long as the frame.
        raise FrameRefused(ErrorCode.BAD_REQUEST, reason[:200], path=where) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise FrameRefused(ErrorCode.BAD_JSON, "The frame is not a JSON object.") from None


def _size(frame: str | bytes) -> int:
    # Nearly every frame is ASCII, with one byte for each character.
    if isinstance(frame, bytes) or frame.isascii():
        return len(frame)
    return len(frame.encode("utf-8", "surrogatepass"))


def depth_exceeds(frame: str | bytes, limit: int) -> bool:
    """Return whether arrays and objects are nested deeper than ``limit``.

    Brackets inside strings do not count. Linear in the length of ``frame``, whatever it contains:
    it is called on text from unauthenticated clients that is not known to be JSON.
    """
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    if text.count("{") + text.count("[") <= limit:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "{[" else -1
        if depth > limit:
            return True
    return False


# Matches from every quote, if need be to the end of an unterminated string, and never backtracks
# into one: a pattern that could fail would be tried again from each following quote.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")

# --- Out --------------------------------------------------------------------------------------


class _Frame(Struct, omit_defaults=True):
    event: str
    data: ServerEvent
    id: RequestId | None = None


_encoder = msgspec.json.Encoder()


def encode(event: ServerEvent, request_id: RequestId | None = None) -> str:
    """Return the frame of an event. With ``request_id`` it answers that request."""
    return _encoder.encode(_Frame(event.event, event, request_id)).decode()


def encode_relay(event: Relay, from_peer_id: str) -> str:
    """Return the frame for the target: the payload unchanged, and the sender set by the server."""
    relayed = _RELAYED[type(event)](event.target_peer_id, event.payload, from_peer_id)
    return encode(relayed)


_RELAYED: dict[type[Relay], Any] = {
    WebrtcOffer: RelayedOffer,
    WebrtcAnswer: RelayedAnswer,
    WebrtcIce: RelayedIce,
}


def error_event(error: ProtocolError, request_event: str | None = None) -> Error:
    """Return the ``error`` event for a ``ProtocolError``."""
    return Error(
        code=str(error.code),
        message=error.message,
        request_event=request_event or UNSET,
        **error.details,
    )
