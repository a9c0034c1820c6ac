"""The events from the server to clients, as msgspec types; PROTOCOL.md describes them.

A subclass of ``ServerEvent`` with an ``event`` name registers itself in ``SERVER_EVENTS``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

SERVER_EVENTS: dict[str, type[ServerEvent]] = {}
"""The server's events by name."""


class ServerEvent(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base class of everything that the server sends."""

    event: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "event" in cls.__dict__:
            SERVER_EVENTS[cls.event] = cls


class PeerInfo(Struct, rename="camel", frozen=True, kw_only=True):
    """An entry of ``peers`` in ``room:joined``."""

    id: str
    user_info: dict[str, Any]
    media: dict[str, bool]
    away: bool = False
    path: str | UnsetType = UNSET
    name_keys: list[str] = []


class Limits(Struct, rename="camel", frozen=True):
    p2p: int
    total: int
    mesh_kbps: list[int]


class Authenticated(ServerEvent):
    event = "authenticated"
    user_info: dict[str, Any]
    expires_at: str | None


class TokenExpiring(ServerEvent):
    event = "token:expiring"
    expires_at: str


class RoomJoined(ServerEvent, kw_only=True):
    event = "room:joined"
    room_id: str
    peer_id: str
    peers: list[PeerInfo]
    user_info: dict[str, Any] | UnsetType = UNSET
    name_keys: list[str] = []
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
    name_keys: list[str] = []


class PeerLeft(ServerEvent):
    event = "peer:left"
    peer_id: str
    reason: str


class PeerAway(ServerEvent):
    event = "peer:away"
    peer_id: str
    until: str
    seconds: float


class PeerBack(ServerEvent):
    event = "peer:back"
    peer_id: str


class SfuStream(Struct, rename="camel"):
    """The peer whose media one section of an SFU's offer carries."""

    mid: str
    peer_id: str
    kind: str


class RelayedOffer(ServerEvent, kw_only=False):
    """Only offers from ``sfu:subscribe`` have ``streams`` and ``connection``."""

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
    name_keys: list[str] | UnsetType = UNSET
    path: str | UnsetType = UNSET


class RoomMode(ServerEvent, kw_only=True):
    event = "room:mode"
    mode: str
    version: int
    switching: bool = False
    until: str | UnsetType = UNSET
    seconds: float | UnsetType = UNSET
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
    """An error; ``codec.error_event`` makes it from a ``ProtocolError``."""

    event = "error"
    code: str
    message: str
    # The name of the failed request. The class variable ``event`` is this event's own name.
    request_event: str | UnsetType = msgspec.field(name="event", default=UNSET)
    path: str | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    mode: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    target_peer_id: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET
