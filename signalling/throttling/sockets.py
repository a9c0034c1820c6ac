"""The rate limits of one socket, and when exceeding them closes it."""

from __future__ import annotations

from signalling.conf import SignallingSettings
from signalling.protocol import RATE_LIMITED_EVENTS, ClientEvent, CloseCode, WebrtcOffer
from signalling.protocol.errors import rate_limited

from .buckets import TokenBucket


class SocketLimits:
    """The token buckets of one socket. See docs/settings.md for the limits."""

    __slots__ = ("_bytes", "_flood", "_frames", "_offers", "_rate_limited_events", "_violations")

    def __init__(self, settings: SignallingSettings) -> None:
        self._frames = TokenBucket(settings.frame_rate, settings.frame_burst)
        self._bytes = TokenBucket(settings.byte_rate, settings.byte_burst)
        self._offers = TokenBucket(settings.offer_rate, settings.offer_rate)
        self._rate_limited_events = TokenBucket(settings.costly_rate, 5)
        self._flood = TokenBucket(settings.frame_rate / 10, settings.flood_frames)
        self._violations = TokenBucket(1, settings.violations)

    def check_frame(self, size: int, now: float) -> None:
        """Raise ``rate_limited`` for a frame over the limit; with close code 4429 for a flood.

        ``size``: the frame's length in bytes or characters. ``now``: the current
        ``time.monotonic``.
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
            self.check_rate_limited_event()

    def check_offer(self) -> None:
        """Raise ``rate_limited`` for an offer over the limit: offers are costly for browsers."""
        wait = self._offers.take()
        if wait:
            raise rate_limited(wait, "offers")

    def check_rate_limited_event(self) -> None:
        """Raise ``rate_limited`` for a ``RATE_LIMITED_EVENTS`` request over the limit."""
        wait = self._rate_limited_events.take()
        if wait:
            raise rate_limited(wait, "changes")

    def violated(self) -> CloseCode | None:
        """Count a malformed frame; return the close code if there were too many."""
        return CloseCode.PROTOCOL_VIOLATIONS if self._violations.take() else None
