"""The rate limits of one socket, and when exceeding them closes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from signalling.conf import SignallingSettings
from signalling.protocol import ClientEvent, CloseCode
from signalling.protocol.errors import rate_limited

from .buckets import TokenBucket
from .rates import Rates

RELAYS = 20
"""Relays that a socket takes at once from the shared rates: taking each would cost too much."""


class Sender(Protocol):
    """A consumer, as its limits see it."""

    identity: Any
    """``None`` or an ``auth.identity.Identity``."""
    membership: Any
    """``None`` or a ``peers.membership.Membership``."""


class SocketLimits:
    """The token buckets of one socket, and its part in the shared ``rates``.

    ``address``: the client's, ``None`` if many clients may have it. See docs/settings.md.
    """

    __slots__ = (
        "_address",
        "_bytes",
        "_flood",
        "_frames",
        "_offers",
        "_rate_limited_events",
        "_rates",
        "_relays",
        "_violations",
    )

    def __init__(
        self, settings: SignallingSettings, rates: Rates, address: str | None = None
    ) -> None:
        self._rates = rates
        self._address = address
        self._frames = TokenBucket(settings.frame_rate, settings.frame_burst)
        self._bytes = TokenBucket(settings.byte_rate, settings.byte_burst)
        self._offers = TokenBucket(settings.offer_rate, settings.offer_rate)
        self._rate_limited_events = TokenBucket(settings.costly_rate, 5)
        self._flood = TokenBucket(settings.frame_rate / 10, settings.flood_frames)
        self._violations = TokenBucket(1, settings.violations)
        self._relays = 0
        """Relays that have been taken from the shared rates and not been sent."""

    def check_frame(self, size: int, now: float) -> None:
        """Raise ``rate_limited`` for a frame over the limit; with close code 4429 for a flood.

        ``size``: the frame's length in bytes or characters. ``now``: the current
        ``time.monotonic``.
        """
        wait = self._frames.take(1, now) or self._bytes.take(size, now)
        if wait:
            is_flood = self._flood.take() > 0
            raise rate_limited(wait, "frames", close=CloseCode.FLOOD if is_flood else None)

    def check_event(self, event: ClientEvent, sender: Sender) -> None:
        """Raise ``rate_limited`` if there were too many events of this class.

        A join counts for its room only if it succeeds: see ``joining``.
        """
        cost = event.cost
        if cost == "relay":
            if self._relays:
                self._relays -= 1
                return
            self._take(cost, sender, RELAYS)
            self._relays = RELAYS - 1
        elif cost:
            if cost == "offer":
                self.check_offer()
            elif cost == "change":
                self.check_rate_limited_event()
            self._take(cost, sender, 1)

    @contextmanager
    def joining(self, sender: Sender) -> Iterator[None]:
        """Take a seat in the block, and raise ``rate_limited`` if the room has too many joins.

        From then on, the frames of this socket count together with those of the user's other sockets
        in the room.
        """
        room = _room(sender)
        with self._rates.taking("join", room=room):
            yield
        key = _user(sender), room
        self._frames, self._bytes = self._rates.frames[key], self._rates.bytes[key]

    def _take(self, cost: str, sender: Sender, count: int) -> None:
        room = None if cost == "join" else _room(sender)
        self._rates.take(cost, count, user=_user(sender), room=room, address=self._address)

    def check_offer(self) -> None:
        """Raise ``rate_limited`` for an offer over the limit: offers are costly for browsers."""
        wait = self._offers.take()
        if wait:
            raise rate_limited(wait, "offers")

    def check_rate_limited_event(self) -> None:
        """Raise ``rate_limited`` for a change of the mode or the SFU over the limit."""
        wait = self._rate_limited_events.take()
        if wait:
            raise rate_limited(wait, "changes")

    def violated(self) -> CloseCode | None:
        """Count a malformed frame; return the close code if there were too many."""
        return CloseCode.PROTOCOL_VIOLATIONS if self._violations.take() else None


def _user(sender: Sender) -> str | None:
    return sender.identity.user_key if sender.identity is not None else None


def _room(sender: Sender) -> str | None:
    return sender.membership.room_code if sender.membership is not None else None
