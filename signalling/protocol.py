"""The wire, version 1: every event as a type, one table for each direction, one way in and out.

Knows no sockets, no Django and no database; PROTOCOL.md is its text and a test holds the two
together. A frame is one JSON object, ``{"event": str, "data"?: object, "id"?: str | number}``.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

SUBPROTOCOL = "signalling.v1"
BEARER_PREFIX = "bearer."

SFU_PUBLISH = "sfu:publish"
SFU_SUBSCRIBE = "sfu:subscribe"
SFU_PEERS = {SFU_PUBLISH, SFU_SUBSCRIBE}
"""The peer ids that stand for a peer's two connections to the SFU; no peer has one with a colon."""

RequestId = Annotated[str, Meta(max_length=128)] | int | float


class ErrorCode(StrEnum):
    """Stable codes of ``error`` events. Codes of the domain (``rooms.exceptions``) are among them."""

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
    ROOM_LOCKED = "room_locked"
    ROOM_CLOSED = "room_closed"
    ALREADY_JOINED = "already_joined"
    NOT_IN_ROOM = "not_in_room"
    PEER_NOT_FOUND = "peer_not_found"
    PEER_BUSY = "peer_busy"
    REMOVED = "removed"
    FORBIDDEN = "forbidden"
    RESUME_INVALID = "resume_invalid"
    RESUME_EXPIRED = "resume_expired"
    RATE_LIMITED = "rate_limited"
    SFU_UNAVAILABLE = "sfu_unavailable"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class CloseCode(IntEnum):
    """Codes the application closes with; an ``error`` frame with the reason always comes first,
    because Daphne drops the close reason and allows an application 1000 and 3000-4999 alone."""

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
    """A request is refused: becomes one ``error`` event and, where ``close`` says so, a close."""

    def __init__(
        self, code: str, message: str, *, close: CloseCode | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.close = close
        self.details = details


# --- Client to server -------------------------------------------------------------------------


class ClientEvent(Struct, rename="camel"):
    """Base of all requests. Unknown keys are ignored, and never relayed."""

    event: ClassVar[str]


class Authenticate(ClientEvent):
    event = "authenticate"
    token: Annotated[str, Meta(max_length=16_384)]


class JoinRoom(ClientEvent):
    event = "join:room"
    room_code: Annotated[str, Meta(max_length=64)]
    resumable: bool = False
    resume_token: Annotated[str, Meta(max_length=128)] | None = None


class LeaveRoom(ClientEvent):
    event = "leave:room"


class Relay(ClientEvent):
    """What the server passes on. The payload stays raw JSON, checked but never changed."""

    payload_name: ClassVar[str]
    target_peer_id: Annotated[str, Meta(max_length=64)]

    @property
    def payload(self) -> Raw:
        raw: Raw = getattr(self, self.payload_name)
        return raw


class WebrtcOffer(Relay):
    event = "webrtc:offer"
    payload_name = "offer"
    offer: Raw


class WebrtcAnswer(Relay):
    """``connection``: of which one, where the SFU has offered several."""

    event = "webrtc:answer"
    payload_name = "answer"
    answer: Raw
    connection: int | None = None


class WebrtcIce(Relay):
    event = "webrtc:ice"
    payload_name = "candidate"
    candidate: Raw
    connection: int | None = None


class Media(Struct, omit_defaults=True, frozen=True):
    """Which kinds of media a peer sends; a kind that is left out is as it was."""

    audio: bool | UnsetType = UNSET
    video: bool | UnsetType = UNSET
    screen: bool | UnsetType = UNSET


# No control characters, nothing that is invisible or turns the reading direction, and not only blanks.
DisplayName = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=r"^(?:\Z|(?=.*\S)[^\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]*\Z)",
    ),
]


class PeerUpdate(ClientEvent):
    event = "peer:update"
    media: Media | UnsetType = UNSET
    display_name: DisplayName | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """Return what the event changes, and nothing else: ``media`` and ``display_name``."""
        changes: dict[str, Any] = {}
        if self.media is not UNSET:
            changes["media"] = msgspec.to_builtins(self.media)
        if self.display_name is not UNSET:
            changes["display_name"] = self.display_name
        return changes


class ChooseMode(ClientEvent):
    event = "room:mode"
    mode: Literal["p2p", "sfu"]


class SfuState(ClientEvent):
    """What has become of the peer's connections to the SFU, in this version of the room's mode."""

    event = "sfu:state"
    version: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    state: Literal["receiving", "failed"]


class SfuRestart(ClientEvent):
    event = "sfu:restart"
    anew: bool = False


class Ping(ClientEvent):
    event = "ping"


CLIENT_EVENTS: dict[str, type[ClientEvent]] = {
    struct.event: struct
    for struct in (
        Authenticate,
        JoinRoom,
        LeaveRoom,
        WebrtcOffer,
        WebrtcAnswer,
        WebrtcIce,
        PeerUpdate,
        ChooseMode,
        SfuState,
        SfuRestart,
        Ping,
    )
}

COSTLY = (ChooseMode, SfuState, SfuRestart)
"""What makes others work too: limited by itself, for each socket."""

# The payloads of relays: what must hold before another peer's browser is asked to read them.


class OfferDescription(Struct):
    """RTCSessionDescriptionInit of an offer (W3C WebRTC, 4.6.1)."""

    type: Literal["offer"]
    sdp: str


class AnswerDescription(Struct):
    type: Literal["answer"]
    sdp: str


class IceCandidate(Struct, rename="camel"):
    """RTCIceCandidateInit (W3C WebRTC, 4.8.1)."""

    candidate: str = ""
    sdp_mid: str | None = None
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=65_535)] | None = None


PAYLOADS: dict[type[Relay], Any] = {
    WebrtcOffer: OfferDescription,
    WebrtcAnswer: AnswerDescription,
    WebrtcIce: str | IceCandidate | None,  # null and "" end the candidates
}


# --- Server to client -------------------------------------------------------------------------


class ServerEvent(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base of all that the server says."""

    event: ClassVar[str]


class PeerInfo(Struct, rename="camel", frozen=True, kw_only=True):
    """One entry of ``room:joined``'s ``peers``."""

    id: str
    user_info: dict[str, Any]
    media: dict[str, bool]
    away: bool = False
    path: str | UnsetType = UNSET


class Limits(Struct, rename="camel", frozen=True):
    p2p: int
    total: int
    mesh_kbps: list[int]


class Authenticated(ServerEvent):
    event = "authenticated"
    user_info: dict[str, Any]
    expires_at: str | None


class RoomJoined(ServerEvent, kw_only=True):
    event = "room:joined"
    room_id: str
    peer_id: str
    peers: list[PeerInfo]
    mode: str
    mode_version: int = 0
    switching: bool = False
    sfu: dict[str, Any] | UnsetType = UNSET
    ice_servers: list[dict[str, Any]]
    ice_expires_at: str | None
    role: str
    limits: Limits
    resumed: bool
    resume_token: str | UnsetType = UNSET
    resume_window: float | UnsetType = UNSET
    gap: bool = False


class PeerJoined(ServerEvent):
    event = "peer:joined"
    peer_id: str
    user_info: dict[str, Any]
    media: dict[str, bool]


class PeerLeft(ServerEvent):
    event = "peer:left"
    peer_id: str
    reason: str


class PeerAway(ServerEvent):
    event = "peer:away"
    peer_id: str
    until: str


class PeerBack(ServerEvent):
    event = "peer:back"
    peer_id: str


class SfuStream(Struct, rename="camel"):
    """Whose media a section of an SFU's offer carries."""

    mid: str
    peer_id: str
    kind: str


class RelayedOffer(ServerEvent, kw_only=False):
    """``streams`` and ``connection`` come from ``sfu:subscribe`` alone."""

    event = "webrtc:offer"
    target_peer_id: str
    offer: Raw
    from_peer_id: str
    streams: list[SfuStream] | UnsetType = UNSET
    connection: int | UnsetType = UNSET


class RelayedAnswer(ServerEvent, kw_only=False):
    event = "webrtc:answer"
    target_peer_id: str
    answer: Raw
    from_peer_id: str


class RelayedIce(ServerEvent, kw_only=False):
    event = "webrtc:ice"
    target_peer_id: str
    candidate: Raw
    from_peer_id: str


class PeerUpdated(ServerEvent):
    event = "peer:updated"
    peer_id: str
    media: dict[str, bool] | UnsetType = UNSET
    display_name: str | UnsetType = UNSET
    path: str | UnsetType = UNSET


class RoomMode(ServerEvent, kw_only=True):
    event = "room:mode"
    mode: str
    version: int
    switching: bool = False
    until: str | UnsetType = UNSET
    reason: str
    sfu: dict[str, Any] | UnsetType = UNSET


class SfuReset(ServerEvent):
    event = "sfu:reset"
    sfu: dict[str, Any]


class RoomClosed(ServerEvent):
    event = "room:closed"
    reason: str


class Ack(ServerEvent):
    event = "ack"


class Pong(ServerEvent):
    event = "pong"


class Error(ServerEvent):
    """``details`` of a refusal lie beside ``code`` and ``message``: see ``error_event``."""

    event = "error"
    code: str
    message: str
    #: the request's event; the class variable ``event`` is this event's own name
    request_event: str | UnsetType = msgspec.field(name="event", default=UNSET)
    path: str | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    target_peer_id: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET


SERVER_EVENTS: dict[str, type[ServerEvent]] = {
    struct.event: struct
    for struct in (
        Authenticated,
        RoomJoined,
        PeerJoined,
        PeerLeft,
        PeerAway,
        PeerBack,
        RelayedOffer,
        RelayedAnswer,
        RelayedIce,
        PeerUpdated,
        RoomMode,
        SfuReset,
        RoomClosed,
        Ack,
        Pong,
        Error,
    )
}

# --- In ---------------------------------------------------------------------------------------


class FrameLimits(Struct, frozen=True, kw_only=True):
    """How large a frame and its parts may be: bytes, and levels of nesting."""

    frame: int = 64 * 1024
    sdp: int = 48 * 1024
    candidate: int = 4 * 1024
    depth: int = 16


class Request(Struct, frozen=True):
    """A decoded frame; ``id`` is the client's own and comes back with the answer."""

    event: ClientEvent
    id: RequestId | None


class _Envelope(Struct):
    event: str
    data: Raw = Raw(b"{}")
    id: RequestId | None = None


class _Identified(Struct):
    """What can be read of a refused frame: enough to answer with its ``id`` and its event."""

    id: RequestId | None = None
    event: Any = None


_envelope_decoder = msgspec.json.Decoder(_Envelope)
_identified_decoder = msgspec.json.Decoder(_Identified)
_event_decoders = {name: msgspec.json.Decoder(struct) for name, struct in CLIENT_EVENTS.items()}
_payload_decoders = {relay: msgspec.json.Decoder(type_) for relay, type_ in PAYLOADS.items()}


class FrameRefused(ProtocolError):
    """A frame that is no request; carries what is needed to answer it."""

    request_id: RequestId | None = None
    request_event: str | None = None


def decode(frame: str | bytes, limits: FrameLimits) -> Request:
    """Return the request in a frame.

    Raises ``FrameRefused`` with ``message_too_large``, ``bad_json``, ``bad_request`` (``path`` says
    where) or ``unknown_event``. Duplicate keys: the last one counts, as in ``JSON.parse``.
    """
    try:
        return _decode(frame, limits)
    except FrameRefused as refusal:
        if refusal.code != ErrorCode.MESSAGE_TOO_LARGE or "path" in refusal.details:
            refusal.request_id, refusal.request_event = identify(frame)
        raise


def _decode(frame: str | bytes, limits: FrameLimits) -> Request:
    if _size(frame) > limits.frame:
        raise FrameRefused(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"A frame has at most {limits.frame} bytes.",
            close=CloseCode.PROTOCOL_VIOLATIONS,
        )
    if isinstance(frame, bytes):  # the decoders skip over what they need not read
        try:
            frame = frame.decode()
        except UnicodeDecodeError:
            raise FrameRefused(ErrorCode.BAD_JSON, "The frame is not UTF-8.") from None
    if depth_exceeds(frame, limits.depth):
        raise FrameRefused(
            ErrorCode.BAD_REQUEST, f"JSON may be nested {limits.depth} levels deep.", path="$"
        )
    envelope = _read(_envelope_decoder, frame, "$")
    decoder = _event_decoders.get(envelope.event)
    if decoder is None:
        raise FrameRefused(ErrorCode.UNKNOWN_EVENT, "There is no such event.")
    # `"data": null` is how some clients write an event without data
    data = b"{}" if bytes(envelope.data) == b"null" else envelope.data
    event = _read(decoder, data, "$.data")
    if isinstance(event, Relay):
        _check_payload(event, limits)
    return Request(event, envelope.id)


def _check_payload(event: Relay, limits: FrameLimits) -> None:
    payload = event.payload
    value = _read(_payload_decoders[type(event)], payload, "$.data.", event.payload_name)
    is_candidate = isinstance(event, WebrtcIce)
    limit = limits.candidate if is_candidate else limits.sdp
    if event.target_peer_id == SFU_SUBSCRIBE and not is_candidate:
        limit = limits.frame  # one answer for everybody in the room
    size = len(memoryview(payload))
    if size > limit and not is_candidate:  # JSON text is never shorter than what it says
        size = len(value.sdp.encode())
    if size > limit:
        path = f"$.data.{event.payload_name}"
        raise FrameRefused(ErrorCode.MESSAGE_TOO_LARGE, f"At most {limit} bytes.", path=path)


def _read(
    decoder: msgspec.json.Decoder[Any], text: str | bytes | Raw, path: str, name: str = ""
) -> Any:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `")
        where = path + name + where.rstrip("`").removeprefix("$")
        raise FrameRefused(ErrorCode.BAD_REQUEST, reason, path=where) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise FrameRefused(ErrorCode.BAD_JSON, "The frame is not a JSON object.") from None


def identify(frame: str | bytes) -> tuple[RequestId | None, str | None]:
    """Return the id and the event of a frame that is refused, so far as they can be read."""
    try:
        found = _identified_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None, None
    return found.id, found.event[:64] if isinstance(found.event, str) else None


def _size(frame: str | bytes) -> int:
    # Nearly every frame is ASCII, where characters are bytes.
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
    """Return the frame of an event; ``request_id`` makes it the answer to that request."""
    return _encoder.encode(_Frame(event.event, event, request_id)).decode()


def encode_relay(event: Relay, from_peer_id: str) -> str:
    """Return the frame that the target gets: the payload as it came, the sender as the server knows it."""
    relayed = _RELAYED[type(event)](event.target_peer_id, event.payload, from_peer_id)
    return encode(relayed)


_RELAYED: dict[type[Relay], Any] = {
    WebrtcOffer: RelayedOffer,
    WebrtcAnswer: RelayedAnswer,
    WebrtcIce: RelayedIce,
}


def error_event(error: ProtocolError, request_event: str | None = None) -> Error:
    """Return the ``error`` event for a refusal."""
    return Error(
        code=str(error.code),
        message=error.message,
        request_event=request_event or UNSET,
        **error.details,
    )
