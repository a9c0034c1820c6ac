"""The call of one fake peer: its connections in the mesh and to the SFU, as the room's mode requires.

PROTOCOL.md describes the rules in "SFU mode".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiortc import RTCIceServer

from .media import Clip
from .mesh import MeshConnection
from .sending import Payload, RequestSender
from .sfu import PUBLISH, SUBSCRIBE, SfuConnections
from .stats import Path, Stats

ARRIVAL_SECONDS = 5.0  # how long we wait for the others' media after our own connection
SFU_CLOSE_SECONDS = 15.0  # how long we keep an SFU whose replacement mesh is incomplete
RETRY_SECONDS = 2.0  # between two attempts to connect


@dataclass
class RemotePeer:
    """Another peer of the room."""

    id: str
    joined_later: bool
    """It joined after us, so it sends the first offer."""
    receives_through_sfu: bool = False
    """It has reported that it receives all peers through the SFU."""
    mesh: MeshConnection | None = None
    attempted_at: float = 0.0


class Call:
    """The connections of one peer. The owner must call ``update`` after each ``on_change``."""

    def __init__(self, sender: RequestSender, on_change: Callable[[], None]) -> None:
        self.mode = "p2p"
        self.version = -1
        self.is_switching = False
        self.peers: dict[str, RemotePeer] = {}
        self.stats = Stats()
        self.clips: Sequence[Clip] = ()
        self.ice_servers: Sequence[RTCIceServer] = ()
        self.sfu: SfuConnections | None = None
        self._sender = sender
        self._on_change = on_change
        self._reported_version = -1
        self._close_sfu_at = 0.0
        self._reset_requested_at = 0.0

    # --- Peers ------------------------------------------------------------------------------------

    def start(self, peer_ids: Iterable[str]) -> None:
        """Start a new membership in a room with these peers."""
        self.peers = {peer_id: RemotePeer(peer_id, joined_later=False) for peer_id in peer_ids}
        self.version = self._reported_version = -1

    def add(self, peer_id: str) -> None:
        """Add a peer that has joined, unless it is known."""
        self.peers.setdefault(peer_id, RemotePeer(peer_id, joined_later=True))

    async def remove(self, peer_id: str) -> None:
        peer = self.peers.pop(peer_id, None)
        if peer is not None:
            self.stats.connection_closed(peer_id, "sfu")
            await self._close_mesh(peer)

    async def close(self) -> None:
        """Close all connections."""
        for peer_id in list(self.peers):
            await self.remove(peer_id)
        await self._close_sfu()

    def displays_all_on(self, path: Path) -> bool:
        """Return whether all other peers are displayed on a path."""
        return all(self.stats.displayed_path(peer_id) == path for peer_id in self.peers)

    # --- Negotiation ------------------------------------------------------------------------------

    async def receive(self, sender: str, kind: Payload, data: dict[str, Any]) -> None:
        """Handle an offer, an answer or a candidate of a peer or of the SFU."""
        if sender in {PUBLISH, SUBSCRIBE}:
            if self.sfu is not None:
                await self.sfu.receive(sender, kind, data)
        elif sender in self.peers:
            peer = self.peers[sender]
            if kind == "offer" and peer.mesh is None:
                peer.mesh = self._create_mesh(peer)
            if peer.mesh is not None:
                await peer.mesh.receive(kind, data[kind])

    async def renegotiate(self) -> None:
        """Negotiate all unfinished connections again, because messages to us were lost."""
        for peer in list(self.peers.values()):
            if peer.mesh is not None and not peer.mesh.connection.is_connected:
                await peer.mesh.negotiate()
        if self.sfu is not None and not self.sfu.is_connected:
            await self._request_reset()  # the server offers the subscription again in any case

    async def reset(self) -> None:
        """Replace our connections to the SFU, which has lost them."""
        if self.sfu is not None:
            self.stats.path_closed("sfu")
            await self.sfu.recreate()

    async def _request_reset(self) -> None:
        await self._sender.request("sfu:restart", {"anew": True})

    # --- The mode of the room ---------------------------------------------------------------------

    async def follow(self, mode: str, version: int, *, is_switching: bool) -> None:
        """Follow a mode of the room, unless a later one is known."""
        if version < self.version:
            return
        is_new_version = version > self.version
        self.mode, self.version, self.is_switching = mode, version, is_switching
        if mode == "sfu":
            await self._join_sfu(is_new_version)
        else:
            await self._join_mesh()

    async def _join_sfu(self, is_new_version: bool) -> None:
        self.stats.preferred_path = "sfu"
        if is_new_version:
            await self._close_sfu()
        if self.sfu is None:
            self.sfu = SfuConnections(
                self.clips,
                self.ice_servers,
                sender=self._sender,
                on_frame=partial(self._record_frame, "sfu"),
                on_change=self._on_change,
                request_reset=self._request_reset,
            )
            await self.sfu.publish()

    async def _join_mesh(self) -> None:
        self.stats.preferred_path = "mesh"
        self._close_sfu_at = _now() + SFU_CLOSE_SECONDS
        for peer in list(self.peers.values()):
            peer.receives_through_sfu = False
            if peer.mesh is None and not peer.joined_later:
                await self._connect_mesh(peer)

    # --- Updates ----------------------------------------------------------------------------------

    async def update(self) -> None:
        """Do what is due: replace failed connections, close unneeded ones, report to the server."""
        await self._repair_mesh()
        if self.sfu is None:
            return
        await self.sfu.close_previous()
        if self.mode == "sfu":
            await self._report_state(self.sfu)
            await self._close_unneeded_mesh()
            await self._repair_sfu(self.sfu)
        elif self.displays_all_on("mesh") or _now() > self._close_sfu_at:
            await self._close_sfu()

    async def _repair_mesh(self) -> None:
        for peer in list(self.peers.values()):
            if peer.mesh is None or not peer.mesh.connection.has_ended:
                continue
            if self.mode == "sfu" or peer.joined_later:
                await self._close_mesh(peer)
            elif _now() > peer.attempted_at + RETRY_SECONDS:
                await self._connect_mesh(peer)

    async def _report_state(self, sfu: SfuConnections) -> None:
        """Report once for each version whether we receive all peers through the SFU."""
        has_failed = sfu.has_failed
        if self._reported_version < self.version and (has_failed or self._has_arrived(sfu)):
            self._reported_version = self.version
            state = "failed" if has_failed else "receiving"
            await self._sender.request("sfu:state", {"version": self.version, "state": state})

    def _has_arrived(self, sfu: SfuConnections) -> bool:
        if not sfu.is_connected or sfu.connected_at is None:
            return False
        has_waited = _now() > sfu.connected_at + ARRIVAL_SECONDS
        return has_waited or self.displays_all_on("sfu")

    async def _close_unneeded_mesh(self) -> None:
        """After a committed switch, close the mesh connections of pairs that receive each other."""
        for peer in list(self.peers.values()):
            is_displayed = self.stats.displayed_path(peer.id) == "sfu"
            if peer.receives_through_sfu and is_displayed and not self.is_switching:
                await self._close_mesh(peer)

    async def _repair_sfu(self, sfu: SfuConnections) -> None:
        if sfu.has_failed and _now() > self._reset_requested_at + RETRY_SECONDS:
            self._reset_requested_at = _now()
            await self._request_reset()

    async def _close_sfu(self) -> None:
        sfu, self.sfu = self.sfu, None
        if sfu is not None:
            await sfu.close()
            self.stats.path_closed("sfu")

    # --- Mesh connections -------------------------------------------------------------------------

    def _create_mesh(self, peer: RemotePeer) -> MeshConnection:
        return MeshConnection(
            self.clips,
            self.ice_servers,
            polite=not peer.joined_later,
            send=partial(self._sender.relay, peer.id),
            on_frame=partial(self._record_frame, "mesh", peer.id),
            on_change=self._on_change,
        )

    async def _connect_mesh(self, peer: RemotePeer) -> None:
        peer.attempted_at = _now()
        peer.mesh = peer.mesh or self._create_mesh(peer)
        await peer.mesh.negotiate()

    async def _close_mesh(self, peer: RemotePeer) -> None:
        mesh, peer.mesh = peer.mesh, None
        if mesh is not None:
            self.stats.connection_closed(peer.id, "mesh")
            await mesh.close()

    def _record_frame(self, path: Path, peer_id: str, kind: str) -> None:
        is_first = not self.stats.is_receiving(peer_id, path)
        self.stats.record_frame(peer_id, path, kind)
        if is_first:
            self._on_change()


def _now() -> float:
    return asyncio.get_running_loop().time()
