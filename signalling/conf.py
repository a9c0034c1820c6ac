"""``settings.SIGNALLING``, typed: every key with its default and its unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rooms.conf import RoomSettings, load

from .protocol import FrameLimits


@dataclass(frozen=True, kw_only=True)
class SignallingSettings(RoomSettings):
    """Keys are written in capitals: ``frame_bytes`` is ``SIGNALLING["FRAME_BYTES"]``.

    The keys of ``rooms.conf.RoomSettings`` are in the same dict.
    """

    allowed_origins: list[str] = field(default_factory=list)
    """Origins of browser clients besides the site's own, each ``scheme://host[:port]``."""
    session_auth: bool = True
    """Accept the Django session where the ``Origin`` is the site's own."""
    query_token: bool = True
    """Accept ``?token=``, for clients that can set neither a header nor a subprotocol."""
    ice_servers: list[dict[str, Any]] = field(default_factory=list)
    """RTCIceServer dicts that every peer is given: ``[{"urls": "stun:stun.example.org"}]``."""

    sfu: dict[str, Any] = field(default_factory=dict)
    """The SFU for rooms too large for a mesh, ``{"BACKEND": import path, …}``, or several by alias."""
    mesh_kbps: list[int] = field(
        default_factory=lambda: [1700, 800, 800, 400, 400, 250, 250, 150, 150]
    )
    """Video in kbit/s that a peer of a mesh sends to each other one: for 2 peers, 3 peers, and so on."""

    frame_bytes: int = 64 * 1024
    """Largest frame."""
    sdp_bytes: int = 48 * 1024
    """Largest SDP."""
    candidate_bytes: int = 4 * 1024
    """Largest ICE candidate, as JSON."""
    json_depth: int = 16
    """Deepest nesting of a frame."""

    frame_burst: int = 400
    """Frames that a socket may send at once."""
    frame_rate: float = 100.0
    """Frames a second that a socket may go on sending."""
    byte_burst: int = 4 * 1024 * 1024
    """Bytes that a socket may send at once."""
    byte_rate: float = 1024.0 * 1024
    """Bytes a second that a socket may go on sending."""
    offer_rate: float = 20.0
    """Offers a second, and at once."""
    costly_rate: float = 0.5
    """``room:mode``, ``sfu:state`` and ``sfu:restart`` a second; five at once."""
    flood_frames: int = 400
    """Frames over the rate, answered ``rate_limited``, before the socket is closed 4429."""
    violations: int = 100
    """Malformed frames at once, refilled at one a second, before the socket is closed 4400."""
    failure_limit: int = 10
    """Failed joins and failed authentications, for each user and address, before delays begin."""
    failure_window: float = 1800.0
    """Seconds for which a failure counts."""

    outbound_frames: int = 512
    """Frames that wait for a client, before it is closed 4508."""
    outbound_bytes: int = 1024 * 1024
    """Bytes of them."""

    held_frames: int = 256
    """Frames that are held for a peer that is away; its senders are told of what is too much."""
    held_bytes: int = 512 * 1024
    """Bytes of them."""
    drain_seconds: float = 8.0
    """Seconds that a server which stops gives its peers to resume elsewhere."""

    database_threads: int = 2
    """Database calls of a process at once, where the database is not SQLite."""

    authentication_timeout: float = 5.0
    """Seconds from the handshake to the first authentication."""
    heartbeat_timeout: float = 45.0
    """Seconds of silence after which a client that sends ``ping`` is taken for dead."""

    @cached_property
    def frame_limits(self) -> FrameLimits:
        return FrameLimits(
            frame=self.frame_bytes,
            sdp=self.sdp_bytes,
            candidate=self.candidate_bytes,
            depth=self.json_depth,
        )


def conf() -> SignallingSettings:
    loaded: SignallingSettings = load(SignallingSettings)
    return loaded
