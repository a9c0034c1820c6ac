"""The connection to one other peer of a mesh: perfect negotiation with aiortc.

aiortc can neither roll back an offer nor restart ICE. Where a browser would do so, this replaces the
RTCPeerConnection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiortc import RTCIceServer

from .connection import Description, PeerConnection
from .media import Clip
from .sending import Payload

Send = Callable[[Payload, Any], Awaitable[None]]
"""Relays an offer, an answer or a candidate to the other peer."""


class MeshConnection:
    """A connection to another peer.

    ``polite``: this peer joined later. It sends the first offer, and yields if offers collide.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        ice_servers: Sequence[RTCIceServer],
        *,
        polite: bool,
        send: Send,
        on_frame: Callable[[str], None],
        on_change: Callable[[], None],
    ) -> None:
        self.polite = polite
        self._clips = clips
        self._ice_servers = ice_servers
        self._send = send
        self._on_frame = on_frame
        self._on_change = on_change
        self.connection = self._create()

    async def negotiate(self) -> None:
        """Send an offer; on a new connection if the current one cannot be used."""
        if self.connection.has_ended or self.connection.has_pending_offer:
            await self._replace()
        await self._send("offer", await self.connection.create_offer())

    async def receive(self, kind: Payload, payload: Any) -> None:
        """Handle an offer, an answer or a candidate of the other peer."""
        if kind == "offer":
            await self._on_offer(payload)
        elif kind == "answer":
            await self.connection.set_answer(payload)
        else:
            await self.connection.add_candidate(payload)

    async def close(self) -> None:
        await self.connection.close()

    async def _on_offer(self, offer: Description) -> None:
        if self.connection.has_pending_offer and not self.polite:
            return
        if self._needs_replacement(offer):
            await self._replace()
        await self._send("answer", await self.connection.create_answer(offer))

    def _needs_replacement(self, offer: Description) -> bool:
        connection = self.connection
        is_new = not connection.is_from_remote(offer) or connection.restarts_ice(offer)
        return connection.has_pending_offer or connection.has_ended or is_new

    async def _replace(self) -> None:
        old, self.connection = self.connection, self._create()
        await old.close()

    def _create(self) -> PeerConnection:
        connection = PeerConnection(
            self._ice_servers,
            on_frame=lambda mid, kind: self._on_frame(kind),
            on_change=self._on_change,
        )
        connection.add_clips(self._clips, "sendrecv")
        return connection
