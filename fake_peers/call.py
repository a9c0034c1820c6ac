"""The call of one fake peer: its connections to the others, in a mesh and through an SFU, as the mode of
the room demands (PROTOCOL.md, "SFU mode").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiortc import RTCIceServer

from .media import Clip
from .mesh import MeshLink
from .sending import Speaker, What
from .sfu import PUBLISH, SUBSCRIBE, Routed
from .stats import Path, Watching

ARRIVAL_SECONDS = 5.0  # after our own connection, for which others are waited for
CLOSE_SECONDS = 15.0  # after which an SFU is left, though the mesh does not carry everybody
MEND_SECONDS = 2.0  # between two attempts at a connection


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


class Call:
    """``changed`` is called when there may be something to do: have ``do_what_is_due`` called then."""

    def __init__(self, speaker: Speaker, changed: Callable[[], None]) -> None:
        self.mode = "p2p"
        self.version = -1
        self.is_switching = False
        self.others: dict[str, Other] = {}
        self.watching = Watching()
        self.clips: Sequence[Clip] = ()
        self.ice_servers: Sequence[RTCIceServer] = ()
        self.routed: Routed | None = None
        self._speaker = speaker
        self._changed = changed
        self._reported = -1  # the version
        self._leaves_sfu_at = 0.0
        self._reset_at = 0.0

    # --- Others -----------------------------------------------------------------------------------

    def begin(self, present: Iterable[str]) -> None:
        """A new membership, in a room with these peers."""
        self.others = {peer_id: Other(peer_id, is_later=False) for peer_id in present}
        self.version = self._reported = -1

    def add(self, peer_id: str) -> None:
        self.others[peer_id] = Other(peer_id, is_later=True)

    async def lose(self, peer_id: str) -> None:
        other = self.others.pop(peer_id, None)
        if other is not None:
            self.watching.lost(peer_id, "sfu")
            await self._unlink(other)

    async def end(self) -> None:
        """End all connections."""
        for peer_id in list(self.others):
            await self.lose(peer_id)
        await self._leave_sfu()

    def is_shown_by(self, path: Path) -> bool:
        """Tell whether everybody is."""
        return all(self.watching.shown(peer_id) == path for peer_id in self.others)

    # --- Negotiation ------------------------------------------------------------------------------

    async def relayed(self, sender: str, what: What, data: dict[str, Any]) -> None:
        """Take what a peer, or the SFU, has for us."""
        if sender in {PUBLISH, SUBSCRIBE}:
            if self.routed is not None:
                await self.routed.hear(sender, what, data)
        elif sender in self.others:
            other = self.others[sender]
            if what == "offer" and other.link is None:
                other.link = self._new_link(other)
            if other.link is not None:
                await other.link.hear(what, data[what])

    async def negotiate_anew(self) -> None:
        """Something that was said to us is lost."""
        for other in list(self.others.values()):
            if other.link is not None and not other.link.line.is_connected:
                await other.link.start()
        if self.routed is not None and not self.routed.is_connected:
            await self._ask_for_reset()  # what we receive is offered anew in any case

    async def reset(self) -> None:
        """Our connections to the SFU are gone."""
        if self.routed is not None:
            self.watching.lost_all("sfu")
            await self.routed.begin_anew()

    async def _ask_for_reset(self) -> None:
        await self._speaker.request("sfu:restart", {"anew": True})

    # --- The mode of the room ---------------------------------------------------------------------

    async def follow(self, mode: str, version: int, *, is_switching: bool) -> None:
        """Do what a mode demands, unless a later one is known."""
        if version < self.version:
            return
        is_another = version > self.version
        self.mode, self.version, self.is_switching = mode, version, is_switching
        if mode == "sfu":
            await self._go_to_sfu(is_another)
        else:
            await self._go_to_mesh()

    async def _go_to_sfu(self, is_another: bool) -> None:
        self.watching.prefers = "sfu"
        if is_another:
            await self._leave_sfu()  # that of an earlier version
        if self.routed is None:
            self.routed = Routed(
                self.clips,
                self.ice_servers,
                speaker=self._speaker,
                took=partial(self._take, "sfu"),
                changed=self._changed,
                needs_reset=self._ask_for_reset,
            )
            await self.routed.publish()

    async def _go_to_mesh(self) -> None:
        self.watching.prefers = "mesh"
        self._leaves_sfu_at = _now() + CLOSE_SECONDS
        for other in list(self.others.values()):
            other.has_reported = False
            if other.link is None and not other.is_later:
                await self._connect(other)

    # --- What is due ------------------------------------------------------------------------------

    async def do_what_is_due(self) -> None:
        await self._mend_links()
        if self.routed is None:
            return
        await self.routed.settle()
        if self.mode == "sfu":
            await self._report(self.routed)
            await self._leave_mesh()
            await self._mend_sfu(self.routed)
        elif self.is_shown_by("mesh") or _now() > self._leaves_sfu_at:
            await self._leave_sfu()

    async def _mend_links(self) -> None:
        for other in list(self.others.values()):
            if other.link is None or not other.link.line.is_over:
                continue
            if self.mode == "sfu" or other.is_later:
                await self._unlink(other)
            elif _now() > other.tried_at + MEND_SECONDS:
                await self._connect(other)

    async def _report(self, routed: Routed) -> None:
        """Say once for each version whether we receive everybody."""
        has_failed = routed.has_failed
        if self._reported < self.version and (has_failed or self._has_arrived(routed)):
            self._reported = self.version
            state = "failed" if has_failed else "receiving"
            await self._speaker.request("sfu:state", {"version": self.version, "state": state})

    def _has_arrived(self, routed: Routed) -> bool:
        if not routed.is_connected or routed.connected_at is None:
            return False
        is_late = _now() > routed.connected_at + ARRIVAL_SECONDS
        return is_late or self.is_shown_by("sfu")

    async def _leave_mesh(self) -> None:
        """Once a switch is committed a pair whose both sides receive each other needs no mesh."""
        for other in list(self.others.values()):
            is_shown = self.watching.shown(other.id) == "sfu"
            if other.has_reported and is_shown and not self.is_switching:
                await self._unlink(other)

    async def _mend_sfu(self, routed: Routed) -> None:
        if routed.has_failed and _now() > self._reset_at + MEND_SECONDS:
            self._reset_at = _now()
            await self._ask_for_reset()

    async def _leave_sfu(self) -> None:
        routed, self.routed = self.routed, None
        if routed is not None:
            await routed.close()
            self.watching.lost_all("sfu")

    # --- Links ------------------------------------------------------------------------------------

    def _new_link(self, other: Other) -> MeshLink:
        return MeshLink(
            self.clips,
            self.ice_servers,
            polite=not other.is_later,
            say=partial(self._speaker.relay, other.id),
            took=partial(self._take, "mesh", other.id),
            changed=self._changed,
        )

    async def _connect(self, other: Other) -> None:
        other.tried_at = _now()
        other.link = other.link or self._new_link(other)
        await other.link.start()

    async def _unlink(self, other: Other) -> None:
        link, other.link = other.link, None
        if link is not None:
            self.watching.lost(other.id, "mesh")
            await link.close()

    def _take(self, path: Path, peer_id: str, kind: str) -> None:
        is_news = not self.watching.comes(peer_id, path)
        self.watching.took(peer_id, path, kind)
        if is_news:
            self._changed()


def _now() -> float:
    return asyncio.get_running_loop().time()
