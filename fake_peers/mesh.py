"""One other peer of a mesh: perfect negotiation, as far as aiortc has what it takes.

It can neither roll an offer back nor restart ICE. Where a browser would do one of these, there is
another RTCPeerConnection here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiortc import RTCIceServer

from .connection import Description, Line, restarts_ice
from .media import Clip

Say = Callable[[str, Any], Awaitable[None]]
"""Relays an ``offer``, an ``answer`` or a ``candidate`` to the other side."""


class MeshLink:
    """``polite``: we came later than the other one, so we offer, and give way."""

    def __init__(
        self,
        clips: Sequence[Clip],
        ice_servers: Sequence[RTCIceServer],
        *,
        polite: bool,
        say: Say,
        took: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.polite = polite
        self._clips = clips
        self._ice_servers = ice_servers
        self._say = say
        self._took = took
        self._changed = changed
        self.line = self._new_line()

    async def start(self) -> None:
        """Offer, on a new connection where the one that we have is of no use any more."""
        if self.line.is_over or self.line.waits_for_an_answer:
            await self._begin_again()
        await self._say("offer", await self.line.offer())

    async def hear(self, what: str, payload: Any) -> None:
        """Take what the other side has relayed."""
        if what == "offer":
            await self._answer(payload)
        elif what == "answer":
            await self.line.accept(payload)
        else:
            await self.line.candidate(payload)

    async def close(self) -> None:
        await self.line.close()

    async def _answer(self, offer: Description) -> None:
        if self.line.waits_for_an_answer and not self.polite:
            return
        if self._is_beyond_us(offer):
            await self._begin_again()
        await self._say("answer", await self.line.answer(offer))

    def _is_beyond_us(self, offer: Description) -> bool:
        line = self.line
        is_another = not line.is_of(offer) or restarts_ice(line, offer)
        return line.waits_for_an_answer or line.is_over or is_another

    async def _begin_again(self) -> None:
        before, self.line = self.line, self._new_line()
        await before.close()

    def _new_line(self) -> Line:
        line = Line(
            self._ice_servers, took=lambda mid, kind: self._took(kind), changed=self._changed
        )
        line.send(self._clips, "sendrecv")
        return line
