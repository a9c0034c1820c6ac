"""Slow readers are closed with 4508 and do not disturb others; a flooding client is not read."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from signalling.protocol import CloseCode
from signalling.testing import SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.locks import ROOM_LOCK, Lock
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL
from tests.integration.traffic import RawSocket, memory, wait_until

MB = 1024 * 1024
DESCRIPTION = {"type": "answer", "sdp": "v" * 40_000}
BOUND = 16 * MB
"""Bytes: more than four send queues of 1 MiB, less than what would wait without their limit."""
SERVERS = ["daphne", "uvicorn"]


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(
        engine="postgresql",
        server=request.param,
        signalling={"BYTE_BURST": 1_000_000_000, "BYTE_RATE": 1_000_000_000},
    )


@pytest.fixture
def lock(postgresql: PostgreSQL, site: Site) -> Iterator[Lock]:
    lock = Lock(postgresql, site)
    yield lock
    lock.close()


class Healthy:
    """Two peers of a room that ping and relay to each other continuously."""

    def __init__(self, site: Site, room: str) -> None:
        self.site = site
        self.room = room
        self.clients = [site.client("alice"), site.client("bob")]
        self.waits: list[float] = []
        self.memory = 0
        self.is_done = False

    async def run(self, client: SignallingCommunicator, other: SignallingCommunicator) -> None:
        while not self.is_done:
            began = time.monotonic()
            await client.request("ping")
            data = {"targetPeerId": other.peer_id, "candidate": "healthy"}
            await client.request("webrtc:ice", data)
            await other.wait_for("webrtc:ice")
            self.waits.append(time.monotonic() - began)
            self.memory = max(self.memory, memory(self.site.worker))

    async def check_latencies(self, rounds: int) -> None:
        end = len(self.waits) + rounds
        await wait_until(lambda: len(self.waits) >= end, "the life of the healthy")


@asynccontextmanager
async def healthy_peers(site: Site, room: str) -> AsyncIterator[Healthy]:
    async with AsyncExitStack() as stack:
        healthy = Healthy(site, room)
        for client in healthy.clients:
            await stack.enter_async_context(client)
            await client.join(room)
        alice, bob = healthy.clients
        lives = [
            asyncio.create_task(healthy.run(alice, bob)),
            asyncio.create_task(healthy.run(bob, alice)),
        ]
        try:
            yield healthy
        finally:
            healthy.is_done = True
            await asyncio.gather(*lives)


class Slow:
    """Four clients that read too slowly, each in another way."""

    def __init__(self, site: Site) -> None:
        self.reader = RawSocket(site, "slow")
        self.silent = RawSocket(site, "silent")
        self.trickling = RawSocket(site, "trickling")
        self.chatty = RawSocket(site, "chatty")
        self.all = [self.reader, self.silent, self.trickling, self.chatty]

    async def __aenter__(self) -> Slow:
        return self

    async def __aexit__(self, *error: object) -> None:
        for reader in self.all:
            reader.close()

    async def read_slowly(self, size: int, every: float) -> None:
        reader = self.reader if size > 1 else self.trickling
        pause = asyncio.Event()  # never set: only its timeout ends a wait for it
        while await reader.takes(size):
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await pause.wait()

    async def pings(self) -> None:
        try:
            while True:
                await self.chatty.send("ping")
                await asyncio.sleep(0.02)
        except OSError:  # closed by the server
            return


async def test_a_slow_reader_is_closed_and_others_are_not_disturbed(site: Site) -> None:
    room = site.room()
    async with (
        Slow(site) as slow,
        site.client("carol") as carol,
        healthy_peers(site, room) as healthy,
    ):
        await carol.join(room)
        await healthy.check_latencies(50)
        before, memory_before = list(healthy.waits), memory(site.worker)
        for reader in slow.all:
            await reader.join(room)
        habits = [
            asyncio.create_task(slow.read_slowly(4096, 0.05)),
            asyncio.create_task(slow.read_slowly(1, 1.0)),
            asyncio.create_task(slow.pings()),
        ]
        healthy.waits.clear()
        await flood(carol, slow)
        # The healthy were never asked to wait: they lived on until the last was closed, and after.
        during = list(healthy.waits)
        assert len(during) > 3
        assert max(during) < max(1.0, 5 * max(before))
        await healthy.check_latencies(10)
        assert healthy.memory - memory_before < BOUND

        habits[0].cancel()  # now it reads on as fast as it can, to the end
        await asyncio.wait(habits[:1])
        await sees_why(slow.reader)
        if site.worker.name == "daphne":  # no application can cut off a client of uvicorn
            for reader in slow.all[1:]:
                await wait_until(lambda each=reader: not each.is_held(), f"{reader.name}'s end")  # type: ignore[misc]
        for habit in habits:
            habit.cancel()
        await asyncio.wait(habits)
        check_that_the_site_is_idle(carol)
    site.wait_until_empty(room)


async def flood(carol: SignallingCommunicator, slow: Slow) -> None:
    """Relay to the slow readers in turn until each is closed and carol has received its leave."""
    closed: set[str] = set()
    async with asyncio.timeout(30):
        while len(closed) < len(slow.all):
            for reader in slow.all:
                if reader.peer_id not in closed:
                    data = {"targetPeerId": reader.peer_id, "answer": DESCRIPTION}
                    await carol.send("webrtc:answer", data)
            await carol.request("ping")  # whatever happens to the others, she is answered
            closed = {f["data"]["peerId"] for f in carol.unread if f["event"] == "peer:left"}
    assert closed == {reader.peer_id for reader in slow.all}


async def sees_why(reader: RawSocket) -> None:
    """Read the remaining relays, then the error, then the close code."""
    events = []
    async with asyncio.timeout(10):
        while True:
            opcode, payload = await reader.frame()
            if opcode != 1:
                break
            events.append(json.loads(payload))
    assert opcode == 8, "the connection ended without a close frame"
    assert int.from_bytes(payload[:2], "big") == CloseCode.TOO_SLOW
    assert events[-1]["event"] == "error"
    assert events[-1]["data"]["code"] == "peer_busy"


def check_that_the_site_is_idle(carol: SignallingCommunicator) -> None:
    """Check that only relays to peers that were already closed were refused."""
    errors = [frame["data"] for frame in carol.unread if frame["event"] == "error"]
    assert {error["code"] for error in errors} <= {"peer_not_found"}


async def test_a_client_that_floods_during_its_join_is_no_longer_read(
    site: Site, lock: Lock
) -> None:
    """The join waits for a locked row. The 30 MB of pings behind it must not be lost."""
    room, count = site.room(), 500
    async with site.client("flooder") as flooder, site.client("bob") as bob:
        await bob.request("ping")
        sent = 0

        async def floods() -> None:
            nonlocal sent
            padding = "x" * 60_000
            for number in range(count):
                ping = {"event": "ping", "id": f"ping {number}", "data": {"padding": padding}}
                await flooder.send_raw(json.dumps(ping))
                sent += 1

        before = memory(site.worker)
        with lock.holds(ROOM_LOCK, room):
            await flooder.send("join:room", {"roomCode": room})
            lock.blocks_a_transaction()
            flood = asyncio.create_task(floods())
            await wait_until(lambda: sent > 0, "the first ping")
            last, unchanged_since = sent, time.monotonic()
            while time.monotonic() - unchanged_since < 0.5:
                await bob.request("ping")  # a flooder is no matter of others
                if sent != last:
                    last, unchanged_since = sent, time.monotonic()
            assert not flood.done(), "all of it was read"
            assert memory(site.worker) - before < BOUND
        await flooder.receive("room:joined")
        for number in range(count):
            await flooder.receive("pong")
            assert json.loads(flooder.last_frame)["id"] == f"ping {number}"
        await flood
        assert memory(site.worker) - before < BOUND
