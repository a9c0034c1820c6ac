"""Peers that record the events they receive, and peers that count what became of their relays."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.processes import BenchmarkError
from signalling.client import ConnectionLost, Event, RequestRefused, ResumingClient, State


async def wait_until(check: Callable[[], Any], what: str, *, within: float) -> None:
    """Wait until ``check()`` is true. Raise ``BenchmarkError`` after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not check():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{what}: not within {within:.0f} s")
        await asyncio.sleep(0.01)


class Peer:
    """A client whose events are handled as they arrive. Subclasses override ``handle``."""

    def __init__(self, client: ResumingClient) -> None:
        self.client = client
        self._receiving = asyncio.create_task(self._receive())

    async def _receive(self) -> None:
        async for event in self.client:
            self.handle(event, time.monotonic())

    def handle(self, event: Event, now: float) -> None:
        """Handle an event received at ``now``, a ``time.monotonic()``."""

    async def close(self) -> None:
        """Close the client. Raise the error that ended it or the receiving task earlier, if any."""
        await self.client.close()
        await self._receiving


class Observer(Peer):
    """Records when it first received each event about each peer."""

    def __init__(self, client: ResumingClient) -> None:
        self.received: dict[tuple[str, str], float] = {}
        super().__init__(client)

    def handle(self, event: Event, now: float) -> None:
        self.received.setdefault((event.name, event.data.get("peerId", "")), now)

    async def receive(self, event: str, peer_id: str, *, within: float) -> float:
        """Wait for an event about a peer and return when it was first received."""
        key = event, peer_id
        await wait_until(lambda: key in self.received, f"{event} {peer_id}", within=within)
        return self.received[key]


class Returner(Peer):
    """Records when it is connected again after a loss."""

    def __init__(self, client: ResumingClient) -> None:
        self.peer_id = client.peer_id
        self.back_at: float | None = None
        super().__init__(client)

    def handle(self, event: Event, now: float) -> None:
        if event.name == "room:joined":
            self.back_at = now

    @property
    def kept_identity(self) -> bool:
        return self.client.peer_id == self.peer_id


def are_back(returners: list[Returner]) -> Callable[[], bool]:
    """Return a check that all of them are connected again."""
    return lambda: all(returner.back_at is not None for returner in returners)


class Sender(Peer):
    """Relays numbered candidates to its partner at a fixed rate and records the fate of each."""

    def __init__(self, client: ResumingClient) -> None:
        self.acknowledged: set[int] = set()
        self.refused: Counter[str] = Counter()
        self.unknown: set[int] = set()
        """Relays without an acknowledgement, cut off by a disconnect: they may arrive or not."""
        self.received: list[int] = []
        self.last_received_at = 0.0
        self.delays: list[tuple[float, float]] = []
        """For each received relay: when it was due to be sent, and how much later it arrived."""
        self.loss_errors = 0
        """Errors in which the server reported the loss of an acknowledged relay to this sender."""
        self.gaps = 0
        """Resumes in which the server reported that events for this peer may have been lost."""
        self._due: dict[int, float] = {}
        self._partner: Sender | None = None
        self._is_stopped = False
        self._sending: asyncio.Task[None] | None = None
        super().__init__(client)

    def start(self, partner: Sender, *, interval: float) -> None:
        self._partner = partner
        self._sending = asyncio.create_task(self._send(partner, interval))

    async def stop(self) -> None:
        """Send no more, and wait for the answer to the last relay."""
        self._is_stopped = True
        if self._sending is not None:
            await self._sending

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await super().close()

    async def _send(self, partner: Sender, interval: float) -> None:
        # The clock sets the times: a relay that a stall holds up is late from its due time on.
        number, due = 0, time.monotonic()
        while not self._is_stopped:
            number += 1
            self._due[number] = due
            try:
                await self.client.relay(partner.client.peer_id, "candidate", str(number))
                self.acknowledged.add(number)
            except RequestRefused as refusal:
                self.refused[refusal.code] += 1
            except ConnectionLost:
                self.unknown.add(number)
            due += interval
            await asyncio.sleep(due - time.monotonic())

    def handle(self, event: Event, now: float) -> None:
        if event.name == "webrtc:ice":
            assert self._partner is not None
            number = int(event.data["candidate"])
            self.received.append(number)
            self.last_received_at = now
            due = self._partner._due[number]
            self.delays.append((due, now - due))
        elif event.name == "room:joined":
            self.gaps += event.data.get("gap", False)
        elif event.name == "error" and "targetPeerId" in event.data:
            self.loss_errors += 1

    # --- What became of the relays ------------------------------------------------------------

    @property
    def missing(self) -> set[int]:
        """The relays that the server acknowledged and the partner has not received."""
        assert self._partner is not None
        return self.acknowledged.difference(self._partner.received)

    @property
    def unreported(self) -> int:
        """The number of missing relays reported to neither this peer nor its partner (as a gap)."""
        assert self._partner is not None
        return 0 if self._partner.gaps else max(0, len(self.missing) - self.loss_errors)

    @property
    def duplicates(self) -> int:
        """The number of relays this peer has received more than once."""
        return len(self.received) - len(set(self.received))

    @property
    def out_of_order(self) -> int:
        pairs = zip(self.received, self.received[1:], strict=False)
        return sum(later < earlier for earlier, later in pairs)

    @property
    def is_connected(self) -> bool:
        return self.client.state == State.CONNECTED


async def stop_sending(senders: list[Sender]) -> None:
    """Stop all senders and wait until every relay has arrived, or none has for 5 s."""
    await asyncio.gather(*(sender.stop() for sender in senders))
    stopped_at = time.monotonic()

    def is_quiet() -> bool:
        last = max(stopped_at, *(sender.last_received_at for sender in senders))
        return not any(sender.missing for sender in senders) or time.monotonic() > last + 5

    await wait_until(is_quiet, "the last relay", within=60)


def are_connected(senders: list[Sender]) -> Callable[[], bool]:
    """Return a check that all of them are connected."""
    return lambda: all(sender.is_connected for sender in senders)


def count_refused(senders: list[Sender]) -> int:
    return sum(sender.refused.total() for sender in senders)


def count_unreported(senders: list[Sender]) -> int:
    """Return how many acknowledged relays were lost without a report to either peer."""
    return sum(sender.unreported for sender in senders)


def count_reported(senders: list[Sender]) -> int:
    """Return how many acknowledged relays were lost and reported to one of the two peers."""
    return sum(len(sender.missing) - sender.unreported for sender in senders)


def count_reconnects(senders: list[Sender]) -> int:
    """Return how many sockets had to be replaced."""
    return sum(sender.client.attempts - 1 for sender in senders)


def count_new_identities(senders: list[Sender]) -> int:
    """Return how many reconnects gave a client a new peer id, because its resume was refused."""
    return sum(sender.client.reconnects - sender.client.resumes for sender in senders)
