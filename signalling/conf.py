"""``settings.SIGNALLING``: every key with its type, default and unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from msgspec.structs import replace

from rooms.conf import RoomSettings, load

from .protocol import FrameLimits

RATE_LIMITS: dict[str, dict[str, list[float]]] = {
    "join": {"user": [0.5, 20], "room": [5, 100], "address": [20, 500]},
    "authenticate": {"user": [0.2, 20]},
    "update": {"user": [2, 20], "room": [20, 200], "address": [50, 1000]},
    "change": {"user": [2, 20], "room": [20, 200], "address": [50, 1000]},
    "offer": {"user": [20, 60], "room": [200, 1000], "address": [400, 2000]},
    "relay": {"room": [2000, 10000], "address": [4000, 20000]},
}
"""The default of ``rate_limits``: for rooms of 50 peers that all renegotiate at once, and 500 users
behind one address."""


@dataclass(frozen=True, kw_only=True)
class SignallingSettings(RoomSettings):
    """The settings. Keys are in upper case: ``frame_bytes`` is ``SIGNALLING["FRAME_BYTES"]``.

    The keys of ``rooms.conf.RoomSettings`` are in the same dict.
    """

    allowed_origins: list[str] = field(default_factory=list)
    """Origins of browser clients other than the site's own: see ``auth.origins``."""
    frame_ancestors: list[str] = field(default_factory=list)
    """Origins whose pages may show the call pages in a frame; ``'self'`` is the site itself."""
    socket_path: str = "ws/signalling/"
    """Path of the WebSocket for our pages, relative to the path at which the site is mounted."""
    content_security_policy: Literal["standalone", "always", "never"] = "standalone"
    """The pages that have our Content-Security-Policy, unless the site sends another one.

    "standalone": those with our own ``signalling/base.html``; "always": all; "never": none.
    """
    context: str = ""
    """Import path of ``(scope) -> context manager``, entered around each database call of a socket.

    ``scope`` is that of the handshake. Empty for none.
    """
    session_auth: bool = True
    """Accept the Django session on pages of the site's own origin."""
    authenticate: str = ""
    """Import path of ``(token) -> user | None``, which validates tokens in place of SimpleJWT."""
    token_cookie: str = ""
    """Name of a cookie with an access token; it counts on pages of the site's own origin."""
    query_token: bool = True
    """Accept ``?token=``, for clients that can set neither header nor subprotocol."""
    token_expiry: Literal["keep", "close"] = "keep"
    """What happens at the expiry of a connected client's token: "keep" the call, or "close" it."""
    ice_servers: list[dict[str, Any]] = field(default_factory=list)
    """``RTCIceServer`` dicts for all peers: ``[{"urls": "stun:stun.example.org"}]``."""

    sfu: dict[str, Any] = field(default_factory=dict)
    """The SFU for large rooms, ``{"BACKEND": import path, …}``, or several by alias."""
    mesh_kbps: list[int] = field(
        default_factory=lambda: [1700, 800, 800, 400, 400, 250, 250, 150, 150]
    )
    """Video bitrate in kbit/s to each other peer of a mesh: for 2 peers, 3 peers, and so on."""

    frame_bytes: int = 64 * 1024
    """Maximum size of a frame, in bytes."""
    unauthenticated_frame_bytes: int = 8 * 1024
    """The same until the client has authenticated."""
    sdp_bytes: int = 48 * 1024
    """Maximum size of an SDP, in bytes."""
    candidate_bytes: int = 4 * 1024
    """Maximum size of an ICE candidate as JSON, in bytes."""
    json_depth: int = 16
    """Maximum nesting depth of a frame."""

    frame_burst: int = 400
    """Frames that a user may send in one room in a burst, and a socket outside of rooms."""
    frame_rate: float = 100.0
    """Frames per second that it may send continuously."""
    byte_burst: int = 4 * 1024 * 1024
    """Bytes that a user may send in one room in a burst, and a socket outside of rooms."""
    byte_rate: float = 1024.0 * 1024
    """Bytes per second that it may send continuously."""
    offer_rate: float = 20.0
    """Offers per second of a socket, and in a burst."""
    costly_rate: float = 0.5
    """``room:mode``, ``sfu:state`` and ``sfu:restart`` per second; five in a burst."""
    rate_limits: dict[str, Any] = field(default_factory=lambda: RATE_LIMITS)
    """Events per second, and in a burst, by class and by ``user``, ``room`` or ``address``.

    A class that is given replaces the default of this class; ``{}`` lifts its limits.
    """
    flood_frames: int = 400
    """Frames over the rate, each a ``rate_limited`` error, before the socket is closed with 4429."""
    violations: int = 100
    """Malformed frames in a burst, refilled at 1 per second, before a close with 4400."""

    outbound_frames: int = 512
    """Relays queued for a client, shared by their senders, and as many of the server's events."""
    outbound_bytes: int = 1024 * 1024
    """The same in bytes."""
    stall_seconds: float = 30.0
    """Seconds without progress before a client is closed with 4508 if relays exceed their share."""

    held_frames: int = 256
    """Frames held for an away peer, for all its senders together."""
    held_bytes: int = 512 * 1024
    """The same in bytes."""
    drain_seconds: float = 8.0
    """Seconds that a stopping server gives its peers to resume on another worker."""

    sockets_per_user: int = 50
    """Sockets that a user may have open in a process; the next one is closed with 4429."""
    sockets_per_address: int = 1000
    """The same for an address, before the handshake is read: 429, or 403 with Daphne."""

    head_seconds: float = 10.0
    """Seconds from the connection until the head of a request or handshake must be complete."""
    body_seconds: float = 30.0
    """Seconds from then until the body must be complete."""
    pending_requests: int = 1000
    """Incomplete requests of a process before those that have waited longest are closed."""
    head_bytes: int = 16 * 1024
    """Maximum size of the head of a request or handshake, in bytes; otherwise 431."""
    headers: int = 100
    """Maximum number of header lines of a request or handshake; otherwise 431."""
    body_bytes: int = 2_621_440
    """Maximum size of a request body, in bytes; otherwise 413."""
    fragments: int = 128
    """Maximum number of frames of one WebSocket message; otherwise a close with 1009."""

    database_threads: int = 2
    """Concurrent database calls of a process, unless the database is SQLite."""

    authentication_timeout: float = 5.0
    """Seconds from the handshake until the client must have authenticated."""
    heartbeat_timeout: float = 45.0
    """Seconds without a frame before a client that pings or is resumable is closed with 4408."""

    @cached_property
    def frame_limits(self) -> FrameLimits:
        """The limits that ``protocol.decode`` checks."""
        return FrameLimits(
            frame=self.frame_bytes,
            sdp=self.sdp_bytes,
            candidate=self.candidate_bytes,
            depth=self.json_depth,
        )

    @property
    def held_limits(self) -> tuple[int, int]:
        """The frames and bytes that are held for a peer that is away."""
        return self.held_frames, self.held_bytes

    @cached_property
    def early_frame_limits(self) -> FrameLimits:
        """The limits for clients that have not authenticated."""
        size = min(self.unauthenticated_frame_bytes, self.frame_bytes)
        return replace(self.frame_limits, frame=size, is_authenticated=False)


def conf() -> SignallingSettings:
    """Return the settings, with defaults for the keys that are not set."""
    loaded: SignallingSettings = load(SignallingSettings)
    return loaded
