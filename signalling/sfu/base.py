"""The interface of an SFU backend.

An SFU (selective forwarding unit, RFC 7667, section 3.7) receives the media of each peer once and
forwards it to the other peers. There are two kinds of backend:

- A *proxied* backend is only reachable through this server. The offers, answers and candidates that
  a peer exchanges with the reserved peer ids pass through ``Transports``.
- With any other backend, clients connect to the SFU themselves. This server gives each client the
  address and a token that identifies its peer (``Sfu.route``).
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from django.core.checks import CheckMessage

from rooms.models import Room

logger = logging.getLogger("signalling")

HEALTH_CACHE_SECONDS = 2.0  # how long the result of a probe is reused
PROBE_TIMEOUT_SECONDS = 2.0

Kind = Literal["audio", "video"]
Direction = Literal["publish", "subscribe"]
"""Which of a peer's two connections to the SFU."""
Description = dict[str, Any]
"""RTCSessionDescriptionInit: ``{"type": "offer" | "answer", "sdp": str}``."""
Candidate = dict[str, Any] | str | None
"""RTCIceCandidateInit, a bare candidate line, or None for the end of candidates."""
Claim = dict[str, int]
"""Identifies the connections of a peer in the SFU. JSON; the keys are up to the backend."""


class SfuError(Exception):
    """Base class of the errors of an SFU."""


class SfuUnavailable(SfuError):
    """The SFU does not respond."""


class SfuRequestFailed(SfuError):
    """The SFU responded with an error. ``code`` is the SFU's own error code."""

    def __init__(self, code: int | str, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


class InvalidDescription(SfuError):
    """The SFU cannot process an offer or an answer. Retrying does not help."""


class Stream(NamedTuple):
    """A media section of a receiving connection: the peer that it carries, and the kind of media."""

    mid: str
    peer_id: str
    kind: Kind


@dataclass(frozen=True)
class SfuRoom:
    """A room in an SFU. Each ``version`` of a room's mode is a separate room there."""

    id: str
    version: int
    total: int = field(default=0, compare=False)
    """The maximum number of peers."""

    @classmethod
    def from_room(cls, room: Room) -> SfuRoom:
        return cls(room.public_id, room.mode_version, room.total_limit)


class Listener(Protocol):
    """Callbacks for the transports of one peer. They run in the event loop and must not block."""

    def on_offer(self, offer: Description, streams: list[Stream], connection: int) -> None:
        """The SFU offers the media of other peers.

        ``streams`` lists the sections of the offer. A new ``connection`` number needs a new
        RTCPeerConnection.
        """

    def on_candidate(self, direction: Direction, candidate: Candidate) -> None:
        """The SFU sends an ICE candidate for one of the connections."""

    def on_claim_changed(self, claim: Claim) -> None:
        """From now on, ``claim`` identifies the connections of the peer."""

    def on_reset(self, claim: Claim) -> None:
        """The SFU has lost the peer's media. The peer has new connections and must publish again."""


class Transports(ABC):
    """The two connections of one peer: one to publish on, one to receive all other peers on.

    A peer that publishes (even without any media) is subscribed to all other publishers of the
    room, as they come and go. A client that does not support SFUs publishes nothing and receives no
    offers.
    """

    @abstractmethod
    async def open(self, claim: Claim | None) -> Claim:
        """Enter the room and return the claim of the connections.

        If the connections that ``claim`` identifies still exist, take them over. Raises
        ``SfuError``.
        """

    @abstractmethod
    async def publish(self, offer: Description) -> Description:
        """Publish the peer's media and return the answer. Later offers renegotiate or restart ICE.

        Raises ``InvalidDescription`` and ``SfuError``.
        """

    @abstractmethod
    async def answer(self, answer: Description, connection: int | None) -> None:
        """Pass on the peer's answer to the last offer.

        Ignores an answer without a pending offer, and an answer for another ``connection``. Raises
        ``InvalidDescription`` and ``SfuError``.
        """

    @abstractmethod
    def trickle(self, direction: Direction, candidate: Candidate, connection: int | None) -> None:
        """Pass on an ICE candidate of the peer.

        ``connection`` is the number of the receiving connection that it belongs to, if known.
        """

    @abstractmethod
    async def restart(self) -> None:
        """Offer the receiving connection again, with new ICE credentials. Raises ``SfuError``."""

    @abstractmethod
    def close(self) -> None:
        """Close both connections immediately."""

    @abstractmethod
    def release(self) -> None:
        """Stop managing the connections but keep them open: another worker claims them."""


class Sfu(ABC):
    """An SFU. Each event loop has its own instance.

    ``alias`` and ``options`` are its key and its value in ``SIGNALLING["SFU"]``.
    """

    provider: ClassVar[str] = "proxied"
    """``sfu.provider`` on the wire: "proxied" if clients reach the SFU through this server."""
    is_proxied: ClassVar[bool] = False
    """Clients reach the SFU only through this server (``create_transports``)."""
    needs_monitoring: ClassVar[bool] = False
    """The backend does not notice outages itself; ``health.monitor`` probes it."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        self.alias = alias
        self.options = options
        self.is_down = False
        """The SFU stopped responding and has not recovered yet."""
        self.unused_since: dict[SfuRoom, float] = {}
        """When this process first found that a room of the SFU is unused (``monotonic``)."""
        self.on_down: Callable[[], None] = _ignore
        self.on_up: Callable[[], None] = _ignore
        self._probed_at = -HEALTH_CACHE_SECONDS
        self._is_healthy = False
        self._probing: asyncio.Task[None] | None = None

    @classmethod
    def check(cls, alias: str, options: dict[str, Any]) -> list[CheckMessage]:
        """Return the system check messages for the options of a backend."""
        return []

    def mark_down(self, reason: object) -> None:
        """Record an outage and call ``on_down``. Does nothing if the SFU is already down."""
        if not self.is_down:
            self.is_down = True
            logger.error("SFU %r unavailable: %s", self.alias, reason)
            self.on_down()

    def mark_up(self) -> None:
        """Record the end of an outage and call ``on_up``. Does nothing if the SFU is not down."""
        if self.is_down:
            self.is_down = False
            logger.warning("SFU %r available again", self.alias)
            self.on_up()

    async def is_healthy(self) -> bool:
        """Return whether the SFU can take a room now.

        Concurrent callers share one probe, and its result is cached for 2 s.
        """
        if monotonic() - self._probed_at >= HEALTH_CACHE_SECONDS:
            if self._probing is None or self._probing.done():
                self._probing = asyncio.create_task(self._run_probe())
            await asyncio.shield(self._probing)
        return self._is_healthy

    async def _run_probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self.probe()
            self._is_healthy = True
        except (SfuError, TimeoutError) as error:
            logger.warning("SFU %r is not healthy: %r", self.alias, error)
            self._is_healthy = False
        self._probed_at = monotonic()

    @abstractmethod
    async def probe(self) -> None:
        """Check that the SFU works. Raises ``SfuError``."""

    def route(self, room: SfuRoom, peer_id: str) -> dict[str, Any]:
        """Return how the client of a peer reaches the SFU: ``sfu`` in ``room:mode``."""
        return {"provider": self.provider}

    def create_transports(self, room: SfuRoom, peer_id: str, listener: Listener) -> Transports:
        """Return the transports of a peer, not yet open. Only for proxied backends."""
        raise NotImplementedError

    @abstractmethod
    async def open_room(self, room: SfuRoom) -> None:
        """Create a room unless it exists. Raises ``SfuError``."""

    @abstractmethod
    async def close_room(self, room: SfuRoom) -> None:
        """Close a room if it exists. Raises ``SfuError``."""

    @abstractmethod
    async def rooms(self) -> set[SfuRoom]:
        """Return the rooms of this site that exist in the SFU. Raises ``SfuError``."""

    @abstractmethod
    async def peers(self, room: SfuRoom) -> set[str]:
        """Return the ids of the peers in a room. Raises ``SfuError``."""

    async def carried(self, room: SfuRoom) -> set[str]:
        """Return the ids of the peers in a room that the SFU has a media connection with.

        They count as arrived during a switch, whatever they report. A backend that does not know
        them returns an empty set. Raises ``SfuError``.
        """
        return set()

    @abstractmethod
    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None:
        """Disconnect a peer from a room and close the connections that ``claim`` identifies.

        Does nothing if the peer is not in the room. Raises ``SfuError``.
        """

    async def close(self) -> None:  # noqa: B027  (not every backend holds resources)
        """Release the resources of this process. Called when the process ends."""


def _ignore() -> None:
    """Default no-op callback."""
