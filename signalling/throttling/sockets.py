"""The limits of one socket: frames, bytes and offers a second, and what costs it the socket."""

from __future__ import annotations

from signalling.conf import SignallingSettings
from signalling.protocol import RATE_LIMITED_EVENTS, ClientEvent, CloseCode, WebrtcOffer
from signalling.protocol.errors import rate_limited

from .buckets import TokenBucket


class SocketLimits:
    """Token buckets of one socket, all in memory."""

    __slots__ = ("_bytes", "_costly", "_flood", "_frames", "_offers", "_violations")

    def __init__(self, settings: SignallingSettings) -> None:
        self._frames = TokenBucket(settings.frame_rate, settings.frame_burst)
        self._bytes = TokenBucket(settings.byte_rate, settings.byte_burst)
        self._offers = TokenBucket(settings.offer_rate, settings.offer_rate)
        self._costly = TokenBucket(settings.costly_rate, 5)
        self._flood = TokenBucket(settings.frame_rate / 10, settings.flood_frames)
        self._violations = TokenBucket(1, settings.violations)

    def check_frame(self, size: int, now: float) -> None:
        """Raise ``rate_limited`` for a frame too many; a flood of them costs the socket, 4429.

        ``now``: of ``time.monotonic``.
        """
        wait = self._frames.take(1, now) or self._bytes.take(size, now)
        if wait:
            is_flood = self._flood.take() > 0
            raise rate_limited(wait, "frames", close=CloseCode.FLOOD if is_flood else None)

    def check_event(self, event: ClientEvent) -> None:
        """Raise ``rate_limited`` if the socket has sent too many events of this kind."""
        if isinstance(event, WebrtcOffer):
            self.check_offer()
        elif isinstance(event, RATE_LIMITED_EVENTS):
            self.check_costly()

    def check_offer(self) -> None:
        """Raise ``rate_limited`` for an offer too many: each makes a browser build a connection."""
        wait = self._offers.take()
        if wait:
            raise rate_limited(wait, "offers")

    def check_costly(self) -> None:
        """Raise ``rate_limited`` for a request too many that makes others work too."""
        wait = self._costly.take()
        if wait:
            raise rate_limited(wait, "changes")

    def violated(self) -> CloseCode | None:
        """Count a malformed frame; return the close code where it was one too many."""
        return CloseCode.PROTOCOL_VIOLATIONS if self._violations.take() else None
