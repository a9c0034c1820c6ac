"""A fake peer. It joins a room and takes full part in its call, by the rules of PROTOCOL.md."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from signalling.client import ClientClosed, ConnectionLost, Event, RequestRefused, ResumingClient
from signalling.client.connection import Data

from . import media
from .call import Call
from .connection import parse_ice_servers
from .sending import EVENTS, Payload, RequestSender
from .stats import PATHS, Path

PAYLOADS: dict[str, Payload] = {event: kind for kind, event in EVENTS.items()}
UPDATE_SECONDS = 0.25


class FakePeer:
    """One peer.

    ``number`` selects its picture and its tone; ``audio``: it sends the tone too. ``options`` are
    passed to ``ResumingClient``. All properties can be read at any time.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        room_code: str,
        *,
        number: int = 1,
        fps: float = 5.0,
        audio: bool = False,
        **options: Any,
    ) -> None:
        self.number = number
        self.modes: list[Data] = []
        """The data of each ``room:mode`` received."""
        self.end_reason = ""
        """Why the peer left the room: the code of an error or of a close. Empty while it is in."""
        self._room_code = room_code
        self._fps = fps
        self._has_audio = audio
        self._client = ResumingClient(url, **options)
        self._sender = RequestSender(self._client)
        self._changed = asyncio.Event()
        self._call = Call(self._sender, self._changed.set)
        self._lock = asyncio.Lock()  # serialises events and updates
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<FakePeer {self.number} {self.peer_id} {self.mode} {self.version}>"

    # --- State ------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> str:
        return self._client.peer_id

    @property
    def resumes(self) -> int:
        """How often the peer has resumed after a lost connection."""
        return self._client.resumes

    @property
    def mode(self) -> str:
        return self._call.mode

    @property
    def version(self) -> int:
        return self._call.version

    @property
    def is_switching(self) -> bool:
        return self._call.is_switching

    @property
    def errors(self) -> list[Data]:
        """The requests that the server refused, and the other errors that it sent."""
        return self._sender.errors

    @property
    def uses_sfu(self) -> bool:
        """The peer has connections to the SFU."""
        return self._call.sfu is not None

    @property
    def mesh_peers(self) -> set[str]:
        """The peers that this one has a mesh connection to."""
        return {peer.id for peer in self._call.peers.values() if peer.mesh is not None}

    def frames(self, peer_id: str, path: Path) -> int:
        """Return how many video frames of a peer were decoded on a path."""
        return self._call.stats.frames(peer_id, path)

    def paths(self) -> dict[str, Path | None]:
        """Return the path on which each other peer is displayed now."""
        return {peer_id: self._call.stats.displayed_path(peer_id) for peer_id in self._call.peers}

    def audio_gap(self, peer_id: str) -> float | None:
        """Return the longest gap in a peer's audio since ``reset_audio_gaps``, in ms.

        None if no audio was received.
        """
        gap = self._call.stats.audio_gap(peer_id)
        return None if gap is None else 1000 * gap

    def reset_audio_gaps(self) -> None:
        self._call.stats.reset_audio_gaps()

    def report(self) -> Data:
        """Return the state as JSON-serialisable data."""
        paths = self.paths()
        return {
            "number": self.number,
            "peerId": self.peer_id,
            "mode": self.mode,
            "version": self.version,
            "paths": paths,
            "frames": {path: {peer: self.frames(peer, path) for peer in paths} for path in PATHS},
            "mesh": sorted(self.mesh_peers),
            "errors": self.errors,
            "end": self.end_reason,
        }

    # --- Lifecycle --------------------------------------------------------------------------------

    async def join(self) -> None:
        """Join the room and take part in the call.

        Raises ``RequestRefused`` and ``ClientClosed``.
        """
        self._call.clips = await asyncio.to_thread(self._encode)
        try:
            await self._client.connect()
            room = await self._client.join(self._room_code)
        except BaseException:
            await self._client.close()
            raise
        await self._sender.request(
            "peer:update",
            {"displayName": f"Fake peer {self.number}", "media": {"audio": self._has_audio}},
        )
        async with self._lock:
            await self._on_joined(room)
        self._tasks = [asyncio.create_task(work()) for work in (self._receive, self._keep_updated)]

    async def close(self) -> None:
        """Leave the room and close all connections."""
        await self._client.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._call.close()

    def _encode(self) -> list[media.Clip]:
        audio = [media.tone(self.number)] if self._has_audio else []
        return [*audio, media.picture(self.number, self._fps)]

    async def _receive(self) -> None:
        try:
            async for event in self._client:
                async with self._lock:
                    await self._handle(event)
                self._changed.set()
        except ClientClosed as closed:
            async with self._lock:
                await self._end(self.end_reason or str(closed.code))

    async def _keep_updated(self) -> None:
        """Update the call after each change, and periodically."""
        with suppress(ClientClosed):
            while not self.end_reason:
                with suppress(TimeoutError):
                    async with asyncio.timeout(UPDATE_SECONDS):
                        await self._changed.wait()
                self._changed.clear()
                async with self._lock:
                    await self._call.update()

    # --- Events -----------------------------------------------------------------------------------

    async def _handle(self, event: Event) -> None:
        name, data = event
        match name:
            case "webrtc:offer" | "webrtc:answer" | "webrtc:ice":
                await self._call.receive(data["fromPeerId"], PAYLOADS[name], data)
            case "room:joined":
                await (self._on_resumed(data) if data["resumed"] else self._on_joined(data))
            case "peer:joined":
                self._call.add(data["peerId"])
            case "peer:left":
                await self._call.remove(data["peerId"])
            case "peer:updated":
                self._update_path(data["peerId"], data)
            case "room:mode":
                self.modes.append(data)
                await self._follow(data, data["version"])
            case "sfu:reset":
                await self._call.reset()
            case "error":
                await self._on_error(data)

    async def _on_joined(self, room: Data) -> None:
        """Start a new membership with new connections."""
        await self._call.close()
        self._call.ice_servers = parse_ice_servers(room["iceServers"])
        self._call.start(peer["id"] for peer in room["peers"])
        await self._update_room(room)

    async def _on_resumed(self, room: Data) -> None:
        """Keep the connections of this membership, and renegotiate if messages were lost."""
        present, known = [peer["id"] for peer in room["peers"]], set(self._call.peers)
        for peer_id in known.difference(present):
            await self._call.remove(peer_id)
        for peer_id in present:
            if peer_id not in known:
                self._call.add(peer_id)
        await self._update_room(room)
        if room.get("gap"):
            await self._call.renegotiate()

    async def _update_room(self, room: Data) -> None:
        for peer in room["peers"]:
            self._update_path(peer["id"], peer)
        await self._follow(room, room.get("modeVersion", 0))

    async def _follow(self, data: Data, version: int) -> None:
        await self._call.follow(data["mode"], version, is_switching=data.get("switching", False))

    def _update_path(self, peer_id: str, data: Data) -> None:
        peer = self._call.peers.get(peer_id)
        if peer is not None and data.get("path") == "sfu":
            peer.receives_through_sfu = True

    async def _on_error(self, error: Data) -> None:
        self._sender.errors.append(error)
        if error["code"] == "sfu_unavailable" and "event" not in error:
            # The room became a mesh without room for this peer. The server has already ended the
            # membership, but the client does not know.
            with suppress(RequestRefused, ConnectionLost):
                await self._client.leave()
            await self._end(error["code"])

    async def _end(self, reason: str) -> None:
        self.end_reason = reason
        await self._call.close()
