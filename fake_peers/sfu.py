"""The connections of a peer to a proxied SFU: one to publish on, one to receive all other peers on.

They are negotiated with two reserved peer ids (PROTOCOL.md, "SFU mode").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from aiortc import RTCBundlePolicy, RTCIceServer

from .connection import Description, PeerConnection
from .media import Clip
from .sending import Payload, RequestSender

PUBLISH, SUBSCRIBE = "sfu:publish", "sfu:subscribe"


class Subscription:
    """A receiving connection. ``number`` is ``connection`` on the wire."""

    def __init__(self, number: int, connection: PeerConnection) -> None:
        self.number = number
        self.connection = connection
        self.peer_ids: dict[str, str] = {}
        """Which peer each section carries, by ``mid``."""
        self.has_media = False
        """A frame has arrived."""


class SfuConnections:
    """The publishing connection and the current subscription of a peer.

    ``on_frame`` is called with a peer id and the kind of each frame; ``request_reset`` asks the
    server for new connections.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        ice_servers: Sequence[RTCIceServer],
        *,
        sender: RequestSender,
        on_frame: Callable[[str, str], None],
        on_change: Callable[[], None],
        request_reset: Callable[[], Awaitable[None]],
    ) -> None:
        self.connected_at: float | None = None
        """When the publishing connection first connected, by the clock of the event loop."""
        self._clips = clips
        self._ice_servers = ice_servers
        self._sender = sender
        self._on_frame = on_frame
        self._on_change = on_change
        self._request_reset = request_reset
        self._publishing: PeerConnection | None = None
        self._subscription: Subscription | None = None
        self._previous: Subscription | None = None
        """The replaced subscription. It stays open until media arrives on the current one."""

    @property
    def is_connected(self) -> bool:
        return self._publishing is not None and self._publishing.is_connected

    @property
    def has_failed(self) -> bool:
        connections = self._publishing, _connection(self._subscription)
        return any(connection is not None and connection.has_ended for connection in connections)

    async def publish(self) -> None:
        """Publish on a new connection."""
        await _close(self._publishing)
        self.connected_at = None
        self._publishing = connection = PeerConnection(
            self._ice_servers, on_frame=lambda mid, kind: None, on_change=self._on_publisher_change
        )
        connection.add_clips(self._clips, "sendonly")
        await self._sender.relay(PUBLISH, "offer", await connection.create_offer())

    async def recreate(self) -> None:
        """Replace both connections, after ``sfu:reset``."""
        await self._close_subscriptions()
        await self.publish()

    async def receive(self, sender: str, kind: Payload, data: dict[str, Any]) -> None:
        """Handle an offer, an answer or a candidate of the SFU."""
        if sender == SUBSCRIBE and kind == "offer":
            await self._on_offer(data)
            return
        connection = self._publishing if sender == PUBLISH else _connection(self._subscription)
        if connection is not None and kind == "answer":
            await connection.set_answer(data["answer"])
        elif connection is not None and kind == "candidate":
            await connection.add_candidate(data["candidate"])

    async def close(self) -> None:
        await self._close_subscriptions()
        await _close(self._publishing)
        self._publishing = None

    async def close_previous(self) -> None:
        """Close the replaced subscription once media arrives on the current one."""
        current = self._subscription
        if self._previous is not None and current is not None and current.has_media:
            previous, self._previous = self._previous, None
            await previous.connection.close()

    async def _close_subscriptions(self) -> None:
        closed = [self._subscription, self._previous]
        self._subscription = self._previous = None
        for subscription in closed:
            await _close(_connection(subscription))

    async def _on_offer(self, data: dict[str, Any]) -> None:
        subscription = self._subscription
        if subscription is None or subscription.number != data["connection"]:
            subscription = await self._replace_subscription(data["connection"])
        elif subscription.connection.restarts_ice(data["offer"]):
            await self._request_reset()
            return
        subscription.peer_ids = {stream["mid"]: stream["peerId"] for stream in data["streams"]}
        answer: Description = await subscription.connection.create_answer(data["offer"])
        await self._sender.relay(SUBSCRIBE, "answer", answer, connection=subscription.number)

    async def _replace_subscription(self, number: int) -> Subscription:
        """Create a subscription. Of the older ones, keep the one that carries media."""
        kept, dropped = self._previous, self._subscription
        if dropped is not None and dropped.has_media:
            kept, dropped = dropped, kept
        connection = PeerConnection(
            self._ice_servers,
            on_frame=partial(self._on_subscription_frame, number),
            on_change=self._on_change,
            bundle_policy=RTCBundlePolicy.MAX_BUNDLE,
        )
        self._previous, self._subscription = kept, Subscription(number, connection)
        await _close(_connection(dropped))
        return self._subscription

    def _on_subscription_frame(self, number: int, mid: str, kind: str) -> None:
        for subscription in (self._subscription, self._previous):
            if subscription is None or subscription.number != number:
                continue
            if mid in subscription.peer_ids:
                subscription.has_media = True
                self._on_frame(subscription.peer_ids[mid], kind)

    def _on_publisher_change(self) -> None:
        if self.is_connected and self.connected_at is None:
            self.connected_at = asyncio.get_running_loop().time()
        self._on_change()


def _connection(subscription: Subscription | None) -> PeerConnection | None:
    return subscription.connection if subscription is not None else None


async def _close(connection: PeerConnection | None) -> None:
    if connection is not None:
        await connection.close()
