"""A fake peer: it joins a room, and takes part in its call in full, by the rules of PROTOCOL.md."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from signalling.client import ClientClosed, ConnectionLost, Event, RequestRefused, ResumingClient
from signalling.client.connection import Data

from . import media
from .call import Call
from .connection import ice_servers
from .sending import EVENTS, Speaker
from .stats import PATHS, Path

RELAYED = {event: what for what, event in EVENTS.items()}
LOOK_SECONDS = 0.25


class FakePeer:
    """One peer. ``number`` is what it shows; ``audio``: it says something, too.

    ``options`` are ``ResumingClient``'s. All that is public may be asked for at any time.
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
        """Each ``room:mode`` that came."""
        self.end = ""
        """Why it is not in the room any more: the code of an error, or of a close."""
        self._room_code = room_code
        self._fps = fps
        self._has_audio = audio
        self._client = ResumingClient(url, **options)
        self._speaker = Speaker(self._client)
        self._news = asyncio.Event()
        self._call = Call(self._speaker, self._news.set)
        self._lock = asyncio.Lock()  # one thing after the other
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<FakePeer {self.number} {self.peer_id} {self.mode} {self.version}>"

    # --- What it sees -----------------------------------------------------------------------------

    @property
    def peer_id(self) -> str:
        return self._client.peer_id

    @property
    def resumes(self) -> int:
        """How often it has come back as the same peer."""
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
        """What was refused, and what the server reported."""
        return self._speaker.errors

    @property
    def is_routed(self) -> bool:
        """Whether it has connections to the SFU."""
        return self._call.routed is not None

    @property
    def mesh(self) -> set[str]:
        """The peers to which it has a connection of the mesh."""
        return {other.id for other in self._call.others.values() if other.link is not None}

    def frames(self, of: str, path: Path) -> int:
        """Return how many pictures of a peer were decoded, of those that came by a path."""
        return self._call.watching.frames(of, path)

    def paths(self) -> dict[str, Path | None]:
        """Return for each other peer by which path it is shown now."""
        return {peer_id: self._call.watching.shown(peer_id) for peer_id in self._call.others}

    def audio_gap(self, of: str) -> float | None:
        """Return the longest silence of a peer since ``forget_gaps``, in ms; None: it was never heard."""
        gap = self._call.watching.gap(of)
        return None if gap is None else 1000 * gap

    def forget_gaps(self) -> None:
        self._call.watching.forget_gaps()

    def report(self) -> Data:
        """Return all of it, as JSON."""
        paths = self.paths()
        return {
            "number": self.number,
            "peerId": self.peer_id,
            "mode": self.mode,
            "version": self.version,
            "paths": paths,
            "frames": {path: {of: self.frames(of, path) for of in paths} for path in PATHS},
            "mesh": sorted(self.mesh),
            "errors": self.errors,
            "end": self.end,
        }

    # --- Coming and going -------------------------------------------------------------------------

    async def join(self) -> None:
        """Join the room, and take part from here on. Raises ``RequestRefused`` and ``ClientClosed``."""
        self._call.clips = await asyncio.to_thread(self._encode)
        try:
            await self._client.connect()
            room = await self._client.join(self._room_code)
        except BaseException:
            await self._client.close()
            raise
        await self._speaker.request(
            "peer:update",
            {"displayName": f"Fake peer {self.number}", "media": {"audio": self._has_audio}},
        )
        async with self._lock:
            await self._enter(room)
        self._tasks = [asyncio.create_task(do()) for do in (self._listen, self._look)]

    async def close(self) -> None:
        """Leave, and end all connections."""
        await self._client.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._call.end()

    def _encode(self) -> list[media.Clip]:
        audio = [media.tone(self.number)] if self._has_audio else []
        return [*audio, media.picture(self.number, self._fps)]

    async def _listen(self) -> None:
        try:
            async for event in self._client:
                async with self._lock:
                    await self._hear(event)
                self._news.set()
        except ClientClosed as closed:
            async with self._lock:
                await self._is_put_out(self.end or str(closed.code))

    async def _look(self) -> None:
        """See what is due whenever something has happened, and now and then."""
        with suppress(ClientClosed):
            while not self.end:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
                self._news.clear()
                async with self._lock:
                    await self._call.do_what_is_due()

    # --- Hearing ----------------------------------------------------------------------------------

    async def _hear(self, event: Event) -> None:
        name, data = event
        match name:
            case "webrtc:offer" | "webrtc:answer" | "webrtc:ice":
                await self._call.relayed(data["fromPeerId"], RELAYED[name], data)
            case "room:joined":
                await (self._resume(data) if data["resumed"] else self._enter(data))
            case "peer:joined":
                self._call.add(data["peerId"])
            case "peer:left":
                await self._call.lose(data["peerId"])
            case "peer:updated":
                self._note_path(data["peerId"], data)
            case "room:mode":
                self.modes.append(data)
                await self._follow(data, data["version"])
            case "sfu:reset":
                await self._call.reset()
            case "error":
                await self._note_error(data)

    async def _enter(self, room: Data) -> None:
        """A new membership: nothing that was before is of use."""
        await self._call.end()
        self._call.ice_servers = ice_servers(room["iceServers"])
        self._call.begin(peer["id"] for peer in room["peers"])
        await self._know(room)

    async def _resume(self, room: Data) -> None:
        """We are back as the same peer: our connections go on, unless something was lost meanwhile."""
        here, known = [peer["id"] for peer in room["peers"]], set(self._call.others)
        for gone in known.difference(here):
            await self._call.lose(gone)
        for peer_id in here:
            if peer_id not in known:
                self._call.add(peer_id)
        await self._know(room)
        if room.get("gap"):
            await self._call.negotiate_anew()

    async def _know(self, room: Data) -> None:
        for peer in room["peers"]:
            self._note_path(peer["id"], peer)
        await self._follow(room, room.get("modeVersion", 0))

    async def _follow(self, said: Data, version: int) -> None:
        await self._call.follow(said["mode"], version, is_switching=said.get("switching", False))

    def _note_path(self, peer_id: str, said: Data) -> None:
        other = self._call.others.get(peer_id)
        if other is not None and said.get("path") == "sfu":
            other.has_reported = True

    async def _note_error(self, error: Data) -> None:
        self._speaker.errors.append(error)
        if error["code"] == "sfu_unavailable" and "event" not in error:
            with suppress(
                RequestRefused, ConnectionLost
            ):  # we have left already; the client should know
                await self._client.leave()
            await self._is_put_out(error["code"])  # one too many for the mesh

    async def _is_put_out(self, why: str) -> None:
        self.end = why
        await self._call.end()
