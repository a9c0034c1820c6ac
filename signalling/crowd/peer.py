"""A fake peer: it joins a room, and takes part in its call in full, by the rules of PROTOCOL.md."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiortc import RTCIceServer

from signalling.client import Closed, Event, Refused, ResumingClient, Unanswered
from signalling.connections import Data

from . import media
from .line import ice_servers
from .mesh import MeshLink
from .routed import PUBLISH, SUBSCRIBE, Routed, What
from .watching import Path, Watching

RELAYED: dict[str, What] = {
    "webrtc:offer": "offer", "webrtc:answer": "answer", "webrtc:ice": "candidate",
}  # fmt: skip

ARRIVAL_SECONDS = 5.0  # after our own connection, for which others are waited for
CLOSE_SECONDS = 15.0  # after which an SFU is left, though the mesh does not carry everybody
MEND_SECONDS = 2.0  # between two attempts at a connection
LOOK_SECONDS = 0.25


@dataclass
class Other:
    """Another peer of the room."""

    id: str
    is_later: bool
    """It joined after us, so it offers."""
    has_reported: bool = False
    """It receives everybody through the SFU."""
    link: MeshLink | None = None
    tried_at: float = 0.0


class CrowdPeer:
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
        self.mode = "p2p"
        self.version = 0
        self.is_switching = False
        self.others: dict[str, Other] = {}
        self.watching = Watching()
        self.errors: list[Data] = []
        """Refusals, and errors that the server reported."""
        self.modes: list[Data] = []
        """Each ``room:mode`` that came."""
        self.end: str = ""
        """Why it is not in the room any more: an error code or a close code."""
        self._room_code = room_code
        self._fps = fps
        self._has_audio = audio
        self._clips: list[media.Clip] = []
        self._client = ResumingClient(url, **options)
        self._ice_servers: list[RTCIceServer] = []
        self._routed: Routed | None = None
        self._reported = -1  # the version
        self._leaves_sfu_at = 0.0
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<CrowdPeer {self.number} {self.peer_id} {self.mode} {self.version}>"

    # --- What it sees -----------------------------------------------------------------------------

    @property
    def peer_id(self) -> str:
        return self._client.peer_id

    @property
    def resumes(self) -> int:
        """How often it has come back as the same peer."""
        return self._client.resumes

    @property
    def is_routed(self) -> bool:
        """Whether it has connections to the SFU."""
        return self._routed is not None

    @property
    def mesh(self) -> set[str]:
        """The peers to which it has a mesh connection."""
        return {other.id for other in self.others.values() if other.link is not None}

    def frames(self, of: str, path: Path) -> int:
        """Return how many pictures of a peer were decoded, of those that came by a path."""
        return self.watching.frames(of, path)

    def paths(self) -> dict[str, Path | None]:
        """Return for each other peer by which path it is shown now."""
        return {peer_id: self.watching.shown(peer_id) for peer_id in self.others}

    def audio_gap(self, of: str) -> float | None:
        """Return the longest silence of a peer since ``forget_gaps``, in ms; None: it was never heard."""
        gap = self.watching.gap(of)
        return None if gap is None else 1000 * gap

    def forget_gaps(self) -> None:
        self.watching.forget_gaps()

    # --- Coming and going -------------------------------------------------------------------------

    async def join(self) -> None:
        """Join the room, and take part from here on. Raises ``Refused`` and ``Closed``."""
        self._clips = await asyncio.to_thread(self._encode)
        try:
            await self._client.connect()
            room = await self._client.join(self._room_code)
            name = {"displayName": f"Fake peer {self.number}"}
            await self._client.send("peer:update", name)
        except BaseException:
            await self._client.close()
            raise
        async with self._lock:
            await self._enter(room)
        self._tasks = [asyncio.create_task(do()) for do in (self._listen, self._look)]

    def _encode(self) -> list[media.Clip]:
        audio = [media.tone(self.number)] if self._has_audio else []
        return [*audio, media.picture(self.number, self._fps)]

    async def close(self) -> None:
        """Leave, and end all connections."""
        await self._client.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_all()

    async def _listen(self) -> None:
        try:
            async for event in self._client:
                async with self._lock:
                    await self._hear(event)
                self._news.set()
        except Closed as closed:
            self.end = self.end or str(closed.code)
            async with self._lock:
                await self._end_all()

    async def _look(self) -> None:
        """See what is due whenever something has happened, and now and then."""
        with suppress(Closed):
            while not self.end:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
                self._news.clear()
                async with self._lock:
                    await self._do_what_is_due()

    # --- Hearing ----------------------------------------------------------------------------------

    async def _hear(self, event: Event) -> None:
        name, data = event
        sender = data.get("fromPeerId", "")
        if name in RELAYED:
            await self._relayed(sender, RELAYED[name], data)
        elif name == "room:joined":
            await (self._resumed(data) if data["resumed"] else self._enter(data))
        elif name == "peer:joined":
            self.others[data["peerId"]] = Other(data["peerId"], is_later=True)
        elif name == "peer:left":
            await self._lose(data["peerId"])
        elif name == "peer:updated" and data["peerId"] in self.others:
            self.others[data["peerId"]].has_reported |= data.get("path") == "sfu"
        elif name == "room:mode":
            self.modes.append(data)
            await self._follow(data["mode"], data["version"], data.get("switching", False))
        elif name == "sfu:reset" and self._routed is not None:
            self.watching.lost_all("sfu")
            await self._routed.begin_anew()
        elif name == "error":
            await self._error(data)

    async def _relayed(self, sender: str, what: What, data: Data) -> None:
        if sender in {PUBLISH, SUBSCRIBE}:
            if self._routed is not None:
                await self._routed.hear(sender, what, data)
        elif sender in self.others:
            other = self.others[sender]
            if what == "offer" and other.link is None:
                other.link = self._new_link(other)
            if other.link is not None:
                await other.link.hear(what, data[what])

    async def _error(self, error: Data) -> None:
        self.errors.append(error)
        if error["code"] == "sfu_unavailable" and "id" not in error and not error.get("event"):
            self.end = error["code"]
            with suppress(Refused, Unanswered):  # the server says that we have left already
                await self._client.leave()
            await self._end_all()

    # --- The room ---------------------------------------------------------------------------------

    async def _enter(self, room: Data) -> None:
        """A new membership: nothing that was before is of use."""
        await self._end_all()
        self._ice_servers = ice_servers(room["iceServers"])
        self.others = {peer["id"]: Other(peer["id"], is_later=False) for peer in room["peers"]}
        self.version = -1
        await self._know(room)

    async def _resumed(self, room: Data) -> None:
        """We are back as the same peer: our connections go on, unless something was lost meanwhile."""
        here = [peer["id"] for peer in room["peers"]]
        for gone in self.others.keys() - set(here):
            await self._lose(gone)
        for new in [peer_id for peer_id in here if peer_id not in self.others]:
            self.others[new] = Other(new, is_later=True)
        await self._know(room)
        if room.get("gap"):
            await self._negotiate_anew()

    async def _know(self, room: Data) -> None:
        for peer in room["peers"]:
            self.others[peer["id"]].has_reported = peer.get("path") == "sfu"
        await self._follow(room["mode"], room.get("modeVersion", 0), room.get("switching", False))

    async def _negotiate_anew(self) -> None:
        for other in list(self.others.values()):
            if other.link is not None and not other.link.line.is_connected:
                await other.link.start()
        if self._routed is not None:
            await self._ask_for_reset()

    async def _follow(self, mode: str, version: int, is_switching: bool) -> None:
        """The mode of the room, which may be news."""
        if version < self.version:
            return
        is_new = version > self.version
        self.mode, self.version, self.is_switching = mode, version, is_switching
        if mode == "sfu":
            await self._go_to_sfu(is_new)
        else:
            await self._go_to_mesh()

    async def _go_to_sfu(self, is_new: bool) -> None:
        self.watching.prefers = "sfu"
        if is_new and self._routed is not None:  # in another room of the SFU
            await self._leave_sfu()
        if self._routed is None:
            self._routed = Routed(
                self._clips,
                self._ice_servers,
                say=self._relay,
                took=partial(self._take, "sfu"),
                changed=self._news.set,
                needs_reset=self._ask_for_reset,
            )
            await self._routed.publish()

    async def _go_to_mesh(self) -> None:
        self.watching.prefers = "mesh"
        self._leaves_sfu_at = self._now() + CLOSE_SECONDS
        for other in list(self.others.values()):
            other.has_reported = False
            if other.link is None and not other.is_later:
                await self._connect(other)

    # --- What is due ------------------------------------------------------------------------------

    async def _do_what_is_due(self) -> None:
        await self._mend_links()
        if self._routed is None:
            return
        await self._routed.settle()
        if self.mode == "sfu":
            await self._report()
            await self._leave_mesh()
        elif self._is_shown_by("mesh") or self._now() > self._leaves_sfu_at:
            await self._leave_sfu()

    async def _mend_links(self) -> None:
        for other in list(self.others.values()):
            if other.link is None or not other.link.line.is_over:
                continue
            if self.mode == "sfu" or other.is_later:
                await self._unlink(other)
            elif self._now() > other.tried_at + MEND_SECONDS:
                await self._connect(other)

    async def _report(self) -> None:
        """Say once for each version whether we receive everybody."""
        routed = self._routed
        if routed is None or self._reported == self.version:
            return
        state = "failed" if routed.has_failed else "receiving"
        if routed.has_failed or self._has_arrived(routed):
            self._reported = self.version
            await self._request("sfu:state", {"version": self.version, "state": state})

    def _has_arrived(self, routed: Routed) -> bool:
        if not routed.is_connected or routed.connected_at is None:
            return False
        is_late = self._now() > routed.connected_at + ARRIVAL_SECONDS
        return is_late or self._is_shown_by("sfu")

    def _is_shown_by(self, path: Path) -> bool:
        return all(shown == path for shown in self.paths().values())

    async def _leave_mesh(self) -> None:
        if self.is_switching:
            return
        for other in list(self.others.values()):
            if other.link and other.has_reported and self.watching.shown(other.id) == "sfu":
                await self._unlink(other)

    async def _leave_sfu(self) -> None:
        routed, self._routed = self._routed, None
        if routed is not None:
            await routed.close()
            self.watching.lost_all("sfu")

    # --- Connections ------------------------------------------------------------------------------

    def _new_link(self, other: Other) -> MeshLink:
        return MeshLink(
            self._clips,
            self._ice_servers,
            polite=not other.is_later,
            say=partial(self._relay, other.id),
            took=partial(self._take, "mesh", other.id),
            changed=self._news.set,
        )

    async def _connect(self, other: Other) -> None:
        other.tried_at = self._now()
        other.link = other.link or self._new_link(other)
        await other.link.start()

    async def _unlink(self, other: Other) -> None:
        link, other.link = other.link, None
        if link is not None:
            self.watching.lost(other.id, "mesh")
            await link.close()

    async def _lose(self, peer_id: str) -> None:
        other = self.others.pop(peer_id, None)
        if other is not None:
            self.watching.lost(peer_id, "sfu")
            await self._unlink(other)

    async def _end_all(self) -> None:
        for peer_id in list(self.others):
            await self._lose(peer_id)
        await self._leave_sfu()

    def _take(self, path: Path, peer_id: str, kind: str) -> None:
        is_first = not self.watching.comes(peer_id, path)
        self.watching.took(peer_id, path, kind)
        if is_first:
            self._news.set()

    # --- Speaking ---------------------------------------------------------------------------------

    async def _relay(self, to: str, what: What, payload: Any) -> None:
        """Relay, again where it is unknown whether it has arrived. Raises ``Closed``."""
        await self._insist(partial(self._client.relay, to, what, payload))

    async def _request(self, event: str, data: Data) -> None:
        await self._insist(partial(self._client.request, event, data))

    async def _ask_for_reset(self) -> None:
        await self._request("sfu:restart", {"anew": True})

    async def _insist(self, ask: Callable[[], Any]) -> None:
        while True:
            try:
                await ask()
            except Unanswered:
                continue
            except Refused as refusal:
                if refusal.code != "peer_not_found":  # it has left, and we shall hear of it
                    self.errors.append(refusal.details)
            return

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
