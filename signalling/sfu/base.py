"""What the project asks of an SFU, whichever it is.

An SFU (selective forwarding unit, RFC 7667, 3.7) takes each peer's media once and hands it to the others.
Two kinds of backend are possible. A *proxied* one stands behind this server: a peer's offers, answers and
candidates for the reserved ids pass through ``Transports``, and clients never reach the SFU's own API. Of
the other kind, clients are only told the way, with a token that says who they are (``route``).
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

HEALTH_SECONDS = 2.0  # for which the answer to a probe counts
PROBE_SECONDS = 2.0  # in which it must have come

Kind = Literal["audio", "video"]
Leg = Literal["publish", "subscribe"]
Description = dict[str, Any]
"""RTCSessionDescriptionInit: ``{"type": "offer" | "answer", "sdp": str}``."""
Candidate = dict[str, Any] | str | None
"""RTCIceCandidateInit, a bare candidate line, or the end of candidates."""
Claim = dict[str, int]
"""Where the SFU keeps the connections of a peer; JSON, and the backend's own."""


class SfuError(Exception):
    """Base of what an SFU refuses, or cannot do."""


class SfuUnavailableError(SfuError):
    """The SFU does not answer."""


class SfuRefused(SfuError):
    """The SFU says no; ``code`` is its own."""

    def __init__(self, code: int | str, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code


class BadDescription(SfuError):
    """The SFU cannot use an offer or an answer, and never will."""


class Stream(NamedTuple):
    """One media section of what a peer receives: whose it is, and of which kind."""

    mid: str
    peer_id: str
    kind: Kind


@dataclass(frozen=True)
class SfuRoom:
    """A room as an SFU knows it. Another ``version`` of a room's mode is another room there."""

    id: str
    version: int
    total: int = field(default=0, compare=False)
    """The most peers that may be in it."""

    @classmethod
    def of(cls, room: Room) -> SfuRoom:
        return cls(room.public_id, room.mode_version, room.total_limit)


class Listener(Protocol):
    """Who hears of the connections of one peer. Called in the event loop; must not block."""

    def offered(self, offer: Description, streams: list[Stream], connection: int) -> None:
        """The SFU offers what it has for the peer. Another ``connection`` is another RTCPeerConnection."""

    def trickled(self, leg: Leg, candidate: Candidate) -> None:
        """The SFU has a candidate for one of the connections."""

    def on_claim_changed(self, claim: Claim) -> None:
        """What the peer has is claimed by this from now on."""

    def on_reset(self, claim: Claim) -> None:
        """The SFU has lost what the peer published; there are new connections, to be published on anew."""


class Transports(ABC):
    """The two connections of one peer: one that it publishes on, one that carries everybody else to it.

    Once the peer publishes, even if it is nothing, it subscribes to whoever publishes in the room, as they
    come and go. A client that knows nothing of SFUs is offered nothing.
    """

    @abstractmethod
    async def open(self, claim: Claim | None) -> Claim:
        """Enter the room, or take over the connections that ``claim`` names if they are still there.

        Raises ``SfuError``.
        """

    @abstractmethod
    async def publish(self, offer: Description) -> Description:
        """Send the peer's media on; return the answer. Again: renegotiate, or restart ICE.

        Raises ``BadDescription`` and ``SfuError``.
        """

    @abstractmethod
    async def answer(self, answer: Description, connection: int | None) -> None:
        """The peer's answer to the last offer. One that answers no open offer, or that of another
        ``connection``, changes nothing.

        Raises ``BadDescription`` and ``SfuError``.
        """

    @abstractmethod
    def trickle(self, leg: Leg, candidate: Candidate, connection: int | None) -> None:
        """A candidate of the peer, for that ``connection`` of its receiving ones."""

    @abstractmethod
    async def restart(self) -> None:
        """Offer the receiving connection once more, with new ICE credentials. Raises ``SfuError``."""

    @abstractmethod
    async def mute(self, kind: Kind, *, muted: bool) -> None:
        """Pass what the peer publishes of a kind on to nobody, or again. Raises ``SfuError``."""

    @abstractmethod
    async def request_keyframe(self) -> None:
        """Ask the peer for a whole picture. Raises ``SfuError``."""

    @abstractmethod
    def close(self) -> None:
        """End both connections at once."""

    @abstractmethod
    def release(self) -> None:
        """Leave the connections to whoever has claimed them, or will."""


class Sfu(ABC):
    """One SFU, of one event loop. ``options`` is its dict in ``SIGNALLING["SFU"]``."""

    provider: ClassVar[str] = "proxied"
    """The name that clients receive: "proxied" for every SFU that they reach through this server."""
    is_proxied: ClassVar[bool] = False
    """Clients reach it through this server alone, by ``legs``."""
    is_watched: ClassVar[bool] = False
    """It does not find out by itself that it is down, or up again: ``watch`` does."""

    def __init__(self, alias: str, options: dict[str, Any]) -> None:
        self.alias = alias
        self.options = options
        self.is_down = False
        """It did answer, and does not any more."""
        self.unused_since: dict[SfuRoom, float] = {}
        """Since when rooms that it has serve nobody, as far as the upkeep of this process knows."""
        self.on_down: Callable[[], None] = _nobody_asks
        self.on_up: Callable[[], None] = _nobody_asks
        self._probed_at = -HEALTH_SECONDS
        self._is_healthy = False
        self._probing: asyncio.Task[None] | None = None

    @classmethod
    def check(cls, alias: str, options: dict[str, Any]) -> list[CheckMessage]:
        """Return what is wrong with the options of a backend: system checks."""
        return []

    def go_down(self, why: object) -> None:
        """Say that the SFU does not answer any more; saying it twice changes nothing."""
        if not self.is_down:
            self.is_down = True
            logger.error("the SFU %r does not answer any more: %s", self.alias, why)
            self.on_down()

    def come_up(self) -> None:
        """Say that it answers; where it was not down, that is no news."""
        if self.is_down:
            self.is_down = False
            logger.warning("the SFU %r answers again", self.alias)
            self.on_up()

    async def is_healthy(self) -> bool:
        """Tell whether the SFU can take a room now; asked at most every 2 s, however many want to know."""
        if monotonic() - self._probed_at >= HEALTH_SECONDS:
            if self._probing is None or self._probing.done():
                self._probing = asyncio.create_task(self._look())
            await asyncio.shield(self._probing)
        return self._is_healthy

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self.probe()
            self._is_healthy = True
        except (SfuError, TimeoutError) as error:
            logger.warning("the SFU %r is not healthy: %r", self.alias, error)
            self._is_healthy = False
        self._probed_at = monotonic()

    @abstractmethod
    async def probe(self) -> None:
        """Ask the SFU for a sign of life. Raises ``SfuError``."""

    def route(self, room: SfuRoom, peer_id: str) -> dict[str, Any]:
        """Return what the client of a peer is told of the way: ``sfu`` in ``room:mode``."""
        return {"provider": self.provider}

    def legs(self, room: SfuRoom, peer_id: str, listener: Listener) -> Transports:
        """Return the connections of a peer, not yet open. Of proxied backends alone."""
        raise NotImplementedError

    @abstractmethod
    async def open_room(self, room: SfuRoom) -> None:
        """Have a room; one that is there already is fine. Raises ``SfuError``."""

    @abstractmethod
    async def close_room(self, room: SfuRoom) -> None:
        """Have no such room any more. Raises ``SfuError``."""

    @abstractmethod
    async def rooms(self) -> set[SfuRoom]:
        """Return the rooms of this site that are there. Raises ``SfuError``."""

    @abstractmethod
    async def peers(self, room: SfuRoom) -> set[str]:
        """Return the ids of the peers in a room. Raises ``SfuError``."""

    @abstractmethod
    async def remove(self, room: SfuRoom, peer_id: str, claim: Claim | None) -> None:
        """Cut a peer off, with what its ``claim`` names; one who is not there is fine.

        Raises ``SfuError``.
        """

    async def close(self) -> None:  # noqa: B027  (many have nothing to end)
        """The process ends."""


def _nobody_asks() -> None:
    """What an SFU calls of which nobody wants to know how it is."""
