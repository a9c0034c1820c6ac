"""A peer's two connections to the SFU: one that it publishes on, one that brings it everybody else.

PROTOCOL.md, "SFU mode": they are negotiated with two reserved peer ids, as if those were peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from aiortc import RTCBundlePolicy, RTCIceServer

from .connection import Description, Line, restarts_ice
from .media import Clip
from .sending import Speaker

PUBLISH, SUBSCRIBE = "sfu:publish", "sfu:subscribe"


class Receiving:
    """One receiving connection, ``number`` in the protocol's ``connection``."""

    def __init__(self, number: int, line: Line) -> None:
        self.number = number
        self.line = line
        self.owners: dict[str, str] = {}
        """Whose each section is, by its ``mid``."""
        self.is_alive = False
        """Media have come."""


class Routed:
    """``took`` is told whose frame has come, and its kind; ``needs_reset`` is asked for new connections."""

    def __init__(
        self,
        clips: Sequence[Clip],
        ice_servers: Sequence[RTCIceServer],
        *,
        speaker: Speaker,
        took: Callable[[str, str], None],
        changed: Callable[[], None],
        needs_reset: Callable[[], Awaitable[None]],
    ) -> None:
        self.connected_at: float | None = None
        """When what we send had a way first, by the clock of the event loop."""
        self._clips = clips
        self._ice_servers = ice_servers
        self._speaker = speaker
        self._took = took
        self._changed = changed
        self._needs_reset = needs_reset
        self._publishing: Line | None = None
        self._receiving: Receiving | None = None
        self._before: Receiving | None = None
        """The receiving connection that the present one takes the place of, once media come on it."""

    @property
    def is_connected(self) -> bool:
        return self._publishing is not None and self._publishing.is_connected

    @property
    def has_failed(self) -> bool:
        lines = self._publishing, _line(self._receiving)
        return any(line is not None and line.is_over for line in lines)

    @property
    def sources(self) -> set[str]:
        """Who has a section in what we receive."""
        return set(self._receiving.owners.values()) if self._receiving is not None else set()

    async def publish(self) -> None:
        """Publish, anew if we did before."""
        await _close(self._publishing)
        self.connected_at = None
        self._publishing = line = Line(
            self._ice_servers, took=lambda mid, kind: None, changed=self._published
        )
        line.send(self._clips, "sendonly")
        await self._speaker.relay(PUBLISH, "offer", await line.offer())

    async def begin_anew(self) -> None:
        """The server has said that our connections are gone."""
        await self._stop_receiving()
        await self.publish()

    async def hear(self, sender: str, what: str, data: dict[str, Any]) -> None:
        if sender == SUBSCRIBE and what == "offer":
            await self._be_offered(data)
            return
        line = self._publishing if sender == PUBLISH else _line(self._receiving)
        if line is not None and what == "answer":
            await line.accept(data["answer"])
        elif line is not None and what == "candidate":
            await line.candidate(data["candidate"])

    async def close(self) -> None:
        await self._stop_receiving()
        await _close(self._publishing)
        self._publishing = None

    async def settle(self) -> None:
        """Close the receiving connection that has been replaced, once the other one carries media."""
        if self._before is not None and self._receiving is not None and self._receiving.is_alive:
            before, self._before = self._before, None
            await before.line.close()

    async def _stop_receiving(self) -> None:
        ended = [self._receiving, self._before]
        self._receiving = self._before = None
        for receiving in ended:
            await _close(_line(receiving))

    async def _be_offered(self, data: dict[str, Any]) -> None:
        receiving = self._receiving
        if receiving is None or receiving.number != data["connection"]:
            receiving = await self._replace(data["connection"])
        elif restarts_ice(receiving.line, data["offer"]):
            await self._needs_reset()
            return
        receiving.owners = {stream["mid"]: stream["peerId"] for stream in data["streams"]}
        answer: Description = await receiving.line.answer(data["offer"])
        await self._speaker.relay(SUBSCRIBE, "answer", answer, connection=receiving.number)

    async def _replace(self, number: int) -> Receiving:
        """Have another receiving connection; of those before it the one that carries media stays."""
        kept, useless = self._before, self._receiving
        if useless is not None and useless.is_alive:
            kept, useless = useless, kept
        line = Line(
            self._ice_servers,
            took=partial(self._take, number),
            changed=self._changed,
            bundle=RTCBundlePolicy.MAX_BUNDLE,
        )
        self._before, self._receiving = kept, Receiving(number, line)
        await _close(_line(useless))
        return self._receiving

    def _take(self, number: int, mid: str, kind: str) -> None:
        for receiving in (self._receiving, self._before):
            if receiving is not None and receiving.number == number and mid in receiving.owners:
                receiving.is_alive = True
                self._took(receiving.owners[mid], kind)

    def _published(self) -> None:
        if self.is_connected and self.connected_at is None:
            self.connected_at = asyncio.get_running_loop().time()
        self._changed()


def _line(receiving: Receiving | None) -> Line | None:
    return receiving.line if receiving is not None else None


async def _close(line: Line | None) -> None:
    if line is not None:
        await line.close()
