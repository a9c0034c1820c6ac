"""Peers of the reliability benchmark: they watch each other, or talk and keep account of every relay."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.processes import BenchmarkError
from signalling.client import ConnectionLost, Event, RequestRefused, ResumingClient, State


async def until(check: Callable[[], Any], what: str, *, within: float) -> None:
    """Wait until something is true, or end the run."""
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not within {within:.0f} s")
        await asyncio.sleep(0.01)


class Listener:
    """A peer that takes its events as they come. ``take`` says what it makes of them."""

    def __init__(self, client: ResumingClient) -> None:
        self.client = client
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.client:
            self.take(event, time.monotonic())

    def take(self, event: Event, now: float) -> None:
        """Do something with an event that came at ``now``, in seconds of ``time.monotonic``."""

    async def close(self) -> None:
        """Close the client. Raises what has ended it, or the listening, before."""
        await self.client.close()
        await self._listening


class Watcher(Listener):
    """Notes when it was told what of whom."""

    def __init__(self, client: ResumingClient) -> None:
        self.told: dict[tuple[str, str], float] = {}
        super().__init__(client)

    def take(self, event: Event, now: float) -> None:
        self.told.setdefault((event.name, event.data.get("peerId", "")), now)

    async def is_told(self, event: str, peer_id: str, *, within: float) -> float:
        """Return when it was first told this of a peer."""
        key = event, peer_id
        await until(lambda: key in self.told, f"{event} {peer_id}", within=within)
        return self.told[key]


class Returner(Listener):
    """Notes when it was connected again."""

    def __init__(self, client: ResumingClient) -> None:
        self.peer_id = client.peer_id
        self.back_at: float | None = None
        super().__init__(client)

    def take(self, event: Event, now: float) -> None:
        if event.name == "room:joined":
            self.back_at = now

    @property
    def is_itself(self) -> bool:
        return self.client.peer_id == self.peer_id


class Speaker(Listener):
    """Relays numbered candidates to its mate at a steady pace; keeps account of what became of them."""

    def __init__(self, client: ResumingClient) -> None:
        self.acknowledged: set[int] = set()
        self.refused: Counter[str] = Counter()
        self.unsure: set[int] = set()
        """What was cut off before it was acknowledged: it may arrive or not."""
        self.heard: list[int] = []
        self.latest = 0.0
        """When something was heard last."""
        self.delays: list[tuple[float, float]] = []
        """When each relay that it heard was due to be sent, and how many seconds later it came."""
        self.reports = 0
        """How often the server said later that something which it had acknowledged was lost."""
        self.gaps = 0
        """How often the server said that something for this peer may be lost."""
        self._due: dict[int, float] = {}
        self._mate: Speaker | None = None
        self._is_done = False
        self._speaking: asyncio.Task[None] | None = None
        super().__init__(client)

    def begin(self, mate: Speaker, *, every: float) -> None:
        self._mate = mate
        self._speaking = asyncio.create_task(self._speak(mate, every))

    async def end(self) -> None:
        """Say no more."""
        self._is_done = True
        if self._speaking is not None:
            await self._speaking

    async def close(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)
        await super().close()

    async def _speak(self, mate: Speaker, every: float) -> None:
        # By the clock: what a stall holds up counts from when it should have been sent.
        number, due = 0, time.monotonic()
        while not self._is_done:
            number += 1
            self._due[number] = due
            try:
                await self.client.relay(mate.client.peer_id, "candidate", str(number))
                self.acknowledged.add(number)
            except RequestRefused as refusal:
                self.refused[refusal.code] += 1
            except ConnectionLost:
                self.unsure.add(number)
            due += every
            await asyncio.sleep(due - time.monotonic())

    def take(self, event: Event, now: float) -> None:
        if event.name == "webrtc:ice":
            assert self._mate is not None
            number = int(event.data["candidate"])
            self.heard.append(number)
            self.latest = now
            due = self._mate._due[number]
            self.delays.append((due, now - due))
        elif event.name == "room:joined":
            self.gaps += event.data.get("gap", False)
        elif event.name == "error" and "targetPeerId" in event.data:
            self.reports += 1

    # --- What became of what this peer said -------------------------------------------------------

    @property
    def missing(self) -> set[int]:
        """What was acknowledged to this peer and its mate has not heard."""
        assert self._mate is not None
        return self.acknowledged.difference(self._mate.heard)

    @property
    def lost(self) -> int:
        """How much of it nobody was told of: neither this peer nor, by a ``gap``, its mate."""
        assert self._mate is not None
        return 0 if self._mate.gaps else max(0, len(self.missing) - self.reports)

    @property
    def twice(self) -> int:
        """How much this peer has heard more than once."""
        return len(self.heard) - len(set(self.heard))

    @property
    def out_of_order(self) -> int:
        return sum(
            later < earlier for earlier, later in zip(self.heard, self.heard[1:], strict=False)
        )

    @property
    def is_connected(self) -> bool:
        return self.client.state == State.CONNECTED
