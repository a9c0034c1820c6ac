"""The events from clients to the server, as msgspec types; PROTOCOL.md describes them.

A subclass of ``ClientEvent`` with an ``event`` name registers itself in ``CLIENT_EVENTS``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .names import TOKEN_LENGTH

CLIENT_EVENTS: dict[str, type[ClientEvent]] = {}
"""The requests by event name."""


class ClientEvent(Struct, rename="camel"):
    """Base class of all requests. Unknown keys are ignored and never relayed."""

    event: ClassVar[str]
    cost: ClassVar[str] = ""
    """The class of events whose rate is limited together; see ``RATE_LIMITS`` in ``conf``."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "event" in cls.__dict__:
            CLIENT_EVENTS[cls.event] = cls


class Authenticate(ClientEvent):
    event = "authenticate"
    cost = "authenticate"
    token: Annotated[str, Meta(max_length=TOKEN_LENGTH)]


class JoinRoom(ClientEvent):
    event = "join:room"
    cost = "join"
    room_code: Annotated[str, Meta(max_length=64)]
    resumable: bool = False
    resume_token: Annotated[str, Meta(max_length=128)] | None = None


class LeaveRoom(ClientEvent):
    event = "leave:room"


# The payloads of relays are checked before they reach another browser.


class OfferDescription(Struct):
    """RTCSessionDescriptionInit of an offer (W3C WebRTC, section 4.6.1)."""

    type: Literal["offer"]
    sdp: str


class AnswerDescription(Struct):
    """``"pranswer"`` is a provisional answer, which another answer follows (RFC 9429, 4.1.8)."""

    type: Literal["answer", "pranswer"]
    sdp: str


class IceCandidate(Struct, rename="camel"):
    """RTCIceCandidateInit (W3C WebRTC, section 4.8.1). ``candidates`` has other forms."""

    candidate: str = ""
    sdp_mid: str | None = None
    sdp_m_line_index: Annotated[int, Meta(ge=0, le=65_535)] | None = None


class Relay(ClientEvent):
    """A request that is relayed to another peer. Its payload is checked and relayed unchanged."""

    cost = "relay"
    payload_name: ClassVar[str]
    payload_type: ClassVar[Any]
    target_peer_id: Annotated[str, Meta(max_length=64)]

    @property
    def payload(self) -> Raw:
        raw: Raw = getattr(self, self.payload_name)
        return raw


class WebrtcOffer(Relay):
    event = "webrtc:offer"
    cost = "offer"
    payload_name = "offer"
    payload_type = OfferDescription
    offer: Raw


class WebrtcAnswer(Relay):
    """``connection`` names the SFU's offer that is answered; an SFU may send several."""

    event = "webrtc:answer"
    payload_name = "answer"
    payload_type = AnswerDescription
    answer: Raw
    connection: int | None = None


class WebrtcIce(Relay):
    event = "webrtc:ice"
    payload_name = "candidate"
    payload_type = str | IceCandidate | None  # null and "" mean the end of candidates
    candidate: Raw
    connection: int | None = None


class Media(Struct, omit_defaults=True, frozen=True):
    """The kinds of media that a peer sends. An omitted kind keeps its state."""

    audio: bool | UnsetType = UNSET
    video: bool | UnsetType = UNSET
    screen: bool | UnsetType = UNSET


DisplayName = Annotated[str, Meta(max_length=64)]
"""``rooms.names`` decides which characters it may contain."""


class PeerUpdate(ClientEvent):
    event = "peer:update"
    cost = "update"
    media: Media | UnsetType = UNSET
    display_name: DisplayName | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """Return only the fields that the event changes: ``media`` and ``display_name``."""
        changes: dict[str, Any] = {}
        if self.media is not UNSET:
            changes["media"] = msgspec.to_builtins(self.media)
        if self.display_name is not UNSET:
            changes["display_name"] = self.display_name
        return changes


class ChooseMode(ClientEvent):
    event = "room:mode"
    cost = "change"
    mode: Literal["p2p", "sfu"]


class SfuState(ClientEvent):
    """The state of the peer's SFU connections, in this version of the room's mode."""

    event = "sfu:state"
    cost = "change"
    version: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    state: Literal["receiving", "failed"]


class SfuRestart(ClientEvent):
    event = "sfu:restart"
    cost = "change"
    anew: bool = False


class Ping(ClientEvent):
    event = "ping"
