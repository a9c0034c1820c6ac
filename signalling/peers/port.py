"""The port between handlers and sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from rooms.services import Joined
from signalling.auth.identity import Identity
from signalling.protocol import ServerEvent

from .membership import Membership
from .messages import Announcement, HeldState, RosterChange

P = ParamSpec("P")
T = TypeVar("T")


class Peer(Protocol):
    """One socket, as handlers see it. Failures of the stores are raised as ``ProtocolError``."""

    identity: Identity | None
    membership: Membership | None
    address: str
    channel_name: str

    async def answer(self, event: ServerEvent) -> None:
        """Send the reply to the request that is being handled."""

    async def identify(self, token: str) -> Identity:
        """Return the identity that a token proves. Raises ``TokenRefused``."""

    async def register_worker(self) -> str:
        """Return the id under which this process holds its lease."""

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a service in a database thread, to its end even if the socket closes."""

    async def act(self, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a service that requires a right of its ``user``, which is added to the arguments.

        The same database call reads the user again. Raises ``TokenRefused`` if the identity of the
        socket no longer holds.
        """

    async def record(
        self,
        announce: Callable[[int], RosterChange],
        function: Callable[P, int],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bool:
        """Run a service that records a past event, such as a leave, and announce the event.

        ``function`` returns the new version of the roster, or 0 if nothing has changed. Then
        nothing is announced, and this returns false. While the database is unavailable, the event
        is announced at once, without a version; the write is queued, and announced again.
        """

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        """Run a service that takes a seat, as ``act`` does, and have the membership adopt it.

        Both complete even if the socket closes, so that its clean-up knows which seat to free.
        """

    async def subscribe(self, room_code: str) -> None:
        """Receive what is published to a room."""

    async def unsubscribe(self, room_code: str) -> None:
        """Stop receiving what is published to a room."""

    async def publish(self, message: RosterChange | Announcement) -> None:
        """Send a message to the other peers of a room, in the order of the calls."""

    def relay(self, target_peer_id: str, frame: str) -> Awaitable[None]:
        """Send a frame to a peer of the roster."""

    async def take_over(self, channel: str) -> None:
        """Fetch the frames held at this peer's previous channel, and close the socket there.

        Without an answer, set ``has_gap`` of the membership.
        """

    def restore(self, held: HeldState) -> None:
        """Adopt the held frames and the relay counters. ``seated`` sends the frames."""

    def seated(self) -> None:
        """Deliver the messages that waited for ``room:joined`` to be sent."""

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        """Open or close the peer's SFU connections; ``claim`` names those it already has."""

    def expect_heartbeat(self) -> None:
        """Start the heartbeat timeout: the client must send frames regularly from now on."""
