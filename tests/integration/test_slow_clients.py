"""Clients that do not read are closed with 4508, slow ones stay; floods are not read."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from signalling.protocol import CloseCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.locks import ROOM_LOCK, Lock
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL
from tests.integration.traffic import RawSocket, memory, wait_until

MB = 1024 * 1024
DESCRIPTION = {"type": "answer", "sdp": "v" * 40_000}
MEMORY_LIMIT = 16 * MB
"""More than the four send queues of 1 MiB can hold, and much less than the floods."""
SERVERS = ["daphne", "uvicorn"]


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(
        engine="postgresql",
        server=request.param,
        signalling={
            "BYTE_BURST": 1_000_000_000,
            "BYTE_RATE": 1_000_000_000,
            "STALL_SECONDS": 2,
        },
    )


@pytest.fixture
def lock(postgresql: PostgreSQL, site: Site) -> Iterator[Lock]:
    lock = Lock(postgresql, site)
    yield lock
    lock.close()


class ActivePair:
    """Two peers of a room that ping and relay to each other all the time."""

    def __init__(self, site: Site, room: str) -> None:
        self.site = site
        self.room = room
        self.clients = [site.client("alice"), site.client("bob")]
        self.latencies: list[float] = []
        self.memory = 0
        self.is_done = False

    async def exchange(self, client: SignallingCommunicator, other: SignallingCommunicator) -> None:
        while not self.is_done:
            started = time.monotonic()
            await client.request("ping")
            data = {"targetPeerId": other.peer_id, "candidate": "active"}
            await client.request("webrtc:ice", data)
            await other.wait_for("webrtc:ice")
            self.latencies.append(time.monotonic() - started)
            self.memory = max(self.memory, memory(self.site.worker))

    async def wait_for_rounds(self, rounds: int) -> None:
        end = len(self.latencies) + rounds
        await wait_until(lambda: len(self.latencies) >= end, "relays of the active pair")


@asynccontextmanager
async def active_pair(site: Site, room: str) -> AsyncIterator[ActivePair]:
    async with AsyncExitStack() as stack:
        pair = ActivePair(site, room)
        for client in pair.clients:
            await stack.enter_async_context(client)
            await client.join(room)
        alice, bob = pair.clients
        tasks = [
            asyncio.create_task(pair.exchange(alice, bob)),
            asyncio.create_task(pair.exchange(bob, alice)),
        ]
        try:
            yield pair
        finally:
            pair.is_done = True
            await asyncio.gather(*tasks)


class SlowClients:
    """Four clients: the reader is slow, and the others hardly read, each in its own way."""

    def __init__(self, site: Site) -> None:
        self.reader = RawSocket(site, "slow")
        self.silent = RawSocket(site, "silent")
        self.trickling = RawSocket(site, "trickling")
        self.chatty = RawSocket(site, "chatty")
        self.stalled = [self.silent, self.trickling, self.chatty]
        self.all = [self.reader, *self.stalled]

    async def __aenter__(self) -> SlowClients:
        return self

    async def __aexit__(self, *error: object) -> None:
        for reader in self.all:
            reader.close()

    async def read_slowly(self, size: int, every: float) -> None:
        reader = self.reader if size > 1 else self.trickling
        pause = asyncio.Event()  # never set: every wait ends with the timeout
        while await reader.read(size):
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await pause.wait()

    async def ping_without_reading(self) -> None:
        try:
            while True:
                await self.chatty.send("ping")
                await asyncio.sleep(0.02)
        except OSError:  # closed by the server
            return


async def test_stalled_clients_are_closed_and_delay_no_other_peer(site: Site) -> None:
    room = site.room()
    async with (
        SlowClients(site) as slow,
        site.client("carol") as carol,
        active_pair(site, room) as pair,
    ):
        await carol.join(room)
        await pair.wait_for_rounds(50)
        before, memory_before = list(pair.latencies), memory(site.worker)
        for reader in slow.all:
            await reader.join(room)
        tasks = [
            asyncio.create_task(slow.read_slowly(16_384, 0.05)),
            asyncio.create_task(slow.read_slowly(1, 1.0)),
            asyncio.create_task(slow.ping_without_reading()),
        ]
        pair.latencies.clear()
        await flood(carol, slow)
        # The active pair was not delayed until the last stalled client was closed, nor afterwards.
        during = list(pair.latencies)
        assert len(during) > 3
        assert max(during) < max(1.0, 5 * max(before))
        await pair.wait_for_rounds(10)
        assert pair.memory - memory_before < MEMORY_LIMIT

        tasks[0].cancel()  # now read the rest as fast as possible
        await asyncio.wait(tasks[:1])
        await assert_closed_as_too_slow(slow.silent)
        await assert_still_receives(carol, slow.reader)
        if site.worker.name == "daphne":  # an application on uvicorn cannot abort a connection
            for reader in (slow.trickling, slow.chatty):
                await wait_until(lambda each=reader: not each.is_open(), f"{reader.name}'s end")  # type: ignore[misc]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert_senders_were_notified(carol)
    site.wait_until_empty(room)


async def flood(carol: SignallingCommunicator, slow: SlowClients) -> None:
    """Relay to the slow clients in turn until Carol has received ``peer:left`` of the stalled ones."""
    left: set[str] = set()
    async with asyncio.timeout(30):
        while len(left) < len(slow.stalled):
            for reader in slow.all:
                if reader.peer_id not in left:
                    data = {"targetPeerId": reader.peer_id, "answer": DESCRIPTION}
                    await carol.send("webrtc:answer", data)
            await carol.request("ping")  # the sender is answered all the time
            left = {f["data"]["peerId"] for f in carol.unread if f["event"] == "peer:left"}
    assert left == {client.peer_id for client in slow.stalled}


async def assert_closed_as_too_slow(reader: RawSocket) -> None:
    """Read the rest: relays that were already sent, then the error, then the close frame."""
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


async def assert_still_receives(carol: SignallingCommunicator, reader: RawSocket) -> None:
    """Read what waits, until a relay arrives that is sent now. Carol's share is full at first."""

    async def read_until(text: bytes) -> None:
        while text not in (frame := await reader.frame())[1]:
            assert frame[0] == 1, frame

    reading = asyncio.create_task(read_until(b"the last one"))
    async with asyncio.timeout(20):
        is_sent = False
        while not is_sent:
            with suppress(RequestRefused):
                data = {"targetPeerId": reader.peer_id, "candidate": "the last one"}
                await carol.request("webrtc:ice", data)
                is_sent = True
        await reading


def assert_senders_were_notified(carol: SignallingCommunicator) -> None:
    """Relays to the reader exceeded Carol's share, and others went to sockets closed already."""
    errors = [frame["data"] for frame in carol.unread if frame["event"] == "error"]
    assert {error["code"] for error in errors} <= {"peer_not_found", "peer_busy"}
    assert any(error["code"] == "peer_busy" for error in errors)


async def test_a_flood_is_not_read_while_a_join_waits(site: Site, lock: Lock) -> None:
    """The join waits for a locked row, and 30 MB of pings wait behind it; none may be lost."""
    room, count = site.room(), 500
    async with site.client("flooder") as flooder, site.client("bob") as bob:
        await bob.request("ping")
        sent = 0

        async def send_pings() -> None:
            nonlocal sent
            padding = "x" * 60_000
            for number in range(count):
                ping = {"event": "ping", "id": f"ping {number}", "data": {"padding": padding}}
                await flooder.send_raw(json.dumps(ping))
                sent += 1

        before = memory(site.worker)
        with lock.hold(ROOM_LOCK, room):
            await flooder.send("join:room", {"roomCode": room})
            lock.wait_until_blocking()
            flood = asyncio.create_task(send_pings())
            await wait_until(lambda: sent > 0, "the first ping")
            last, unchanged_since = sent, time.monotonic()
            while time.monotonic() - unchanged_since < 0.5:
                await bob.request("ping")  # other clients are not affected
                if sent != last:
                    last, unchanged_since = sent, time.monotonic()
            assert not flood.done(), "the server read everything"
            assert memory(site.worker) - before < MEMORY_LIMIT
        await flooder.receive("room:joined")
        for number in range(count):
            await flooder.receive("pong")
            assert json.loads(flooder.last_frame)["id"] == f"ping {number}"
        await flood
        assert memory(site.worker) - before < MEMORY_LIMIT
