"""Workers that are killed, stopped and suspended."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from functools import partial

import pytest

from signalling.client import ConnectionLost, RequestRefused, ResumingClient
from tests.integration.fixtures import Engine, MakeSite
from tests.integration.servers import ServerName, Site
from tests.integration.traffic import wait_until

SERVERS: list[ServerName] = ["daphne", "uvicorn"]
LEASES = {"LEASE_SECONDS": 3, "LEASE_RENEWAL": 1}
GHOST_SECONDS = 15.0
"""Seconds until the peers of a killed worker are gone, at most: 8 unless the machine is busy."""


def candidate(number: int) -> str:
    return f"candidate:{number} 1 UDP 1 192.0.2.1 1 typ host"


def resuming(site: Site, username: str, *workers: int, **options: object) -> ResumingClient:
    """Return a client that tries these workers in turn."""
    urls = [site.workers[worker].url for worker in workers or (0,)]
    return ResumingClient(urls, token=site.token(username), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_stopping_worker_drains_and_leaves_nothing_behind(
    make_site: MakeSite, server: ServerName
) -> None:
    site = make_site(engine="postgresql", redis=True, workers=2, server=server)
    code = site.room()
    async with (
        site.client("plain", worker=0) as plain,
        site.client("watcher", worker=1) as watcher,
        resuming(site, "keen", 0, 1) as keen,
    ):
        await plain.join(code)
        await watcher.join(code)
        await keen.join(code)
        keen_id = keen.peer_id
        await watcher.wait_for("peer:joined", peerId=keen_id)
        begun = time.monotonic()
        site.workers[0].send_signal(signal.SIGTERM)
        await plain.wait_for("peer:joined", peerId=keen_id)
        await plain.wait_for("error", code="unavailable")
        assert await plain.receive_close() == 4503
        left = await watcher.wait_for("peer:left", peerId=plain.peer_id)
        assert left["reason"] == "disconnected"
        await watcher.wait_for("peer:away", peerId=keen_id)
        await watcher.wait_for("peer:back", peerId=keen_id)
        assert await asyncio.to_thread(site.workers[0].wait) == 0
        assert time.monotonic() - begun < 10
        assert (keen.peer_id, keen.reconnects) == (keen_id, 1)
        assert site.database.live_peers(code) == {keen_id, watcher.peer_id}
        assert site.database.workers() == 1
        await watcher.request("webrtc:ice", {"targetPeerId": keen_id, "candidate": candidate(1)})
        async for event in keen:
            if event.name == "webrtc:ice":
                break


@pytest.mark.parametrize("server", ["stock-daphne", "stock-uvicorn"])
async def test_stock_servers_leave_nothing_behind(make_site: MakeSite, server: ServerName) -> None:
    site = make_site(engine="postgresql", redis=True, workers=2, server=server)
    code = site.room()
    async with (
        site.client("plain", worker=0) as plain,
        site.client("watcher", worker=1) as watcher,
        resuming(site, "keen", 0, 1) as keen,
    ):
        await plain.join(code)
        await watcher.join(code)
        await keen.join(code)
        keen_id = keen.peer_id
        await watcher.wait_for("peer:joined", peerId=keen_id)
        site.workers[0].send_signal(signal.SIGTERM)
        await watcher.wait_for("peer:left", peerId=plain.peer_id)
        await watcher.wait_for("peer:away", peerId=keen_id)
        await watcher.wait_for("peer:back", peerId=keen_id, within=15)
        await asyncio.to_thread(site.workers[0].wait)
        assert site.database.live_peers(code) == {keen_id, watcher.peer_id}
        assert site.database.workers() == 1


async def test_a_killed_worker_leaves_no_ghosts(make_site: MakeSite) -> None:
    """In five rooms on three workers, peers leave in time, and resumable peers resume."""
    site = make_site(engine="postgresql", redis=True, workers=3, server="uvicorn")
    async with AsyncExitStack() as stack:
        watchers, plain, keen = [], [], []
        for _ in range(5):
            code = site.room()
            watcher = await stack.enter_async_context(site.client("watcher", worker=1))
            await watcher.join(code)
            victim = site.client("plain", worker=0)
            await victim.connect()
            stack.push_async_callback(victim.close)
            await victim.join(code)
            client = await stack.enter_async_context(resuming(site, "keen", 0, 2))
            await client.join(code)
            await watcher.wait_for("peer:joined", peerId=client.peer_id)
            watchers.append(watcher)
            plain.append(victim)
            keen.append(client)
        ids = [client.peer_id for client in keen]
        site.workers[0].send_signal(signal.SIGKILL)
        begun = time.monotonic()
        for watcher, victim, peer_id in zip(watchers, plain, ids, strict=True):
            left = await watcher.wait_for("peer:left", within=GHOST_SECONDS, peerId=victim.peer_id)
            assert left["reason"] == "server_lost"
            await watcher.wait_for("peer:back", peerId=peer_id)
        assert time.monotonic() - begun <= GHOST_SECONDS
        assert [client.peer_id for client in keen] == ids
        assert all(client.room and client.room["gap"] for client in keen)
        for watcher in watchers:
            await watcher.request("ping")
            events = [frame["event"] for frame in watcher.unread]
            assert events.count("peer:left") == 0  # each was announced once
        assert site.database.live_rows() == 10


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_suspended_worker_fences_itself(make_site: MakeSite, engine: Engine) -> None:
    site = make_site(engine=engine, redis=True, workers=2, server="uvicorn", signalling=LEASES)
    code = site.room()
    async with (
        site.client("plain", worker=0) as plain,
        site.client("watcher", worker=1) as watcher,
    ):
        await plain.join(code)
        await watcher.join(code)
        await plain.wait_for("peer:joined")
        site.workers[0].send_signal(signal.SIGSTOP)
        left = await watcher.wait_for("peer:left", peerId=plain.peer_id, within=GHOST_SECONDS)
        assert left["reason"] == "server_lost"
        await plain.send("webrtc:ice", {"targetPeerId": watcher.peer_id, "candidate": "late"})
        site.workers[0].send_signal(signal.SIGCONT)
        await plain.wait_for("error", code="unavailable")
        assert await plain.receive_close() == 4503
        await watcher.receive_nothing()
        assert site.database.live_peers(code) == {watcher.peer_id}


async def test_a_socket_that_missed_its_resume_during_a_stop_relays_nothing(
    make_site: MakeSite,
) -> None:
    """Its frames have waited in the kernel. A lease that lasts closes no socket by itself."""
    leases = {"LEASE_SECONDS": 60, "LEASE_RENEWAL": 1}
    site = make_site(
        engine="postgresql", redis=True, workers=2, server="uvicorn", signalling=leases
    )
    code = site.room()
    async with (
        site.client("keen", worker=0) as old,
        site.client("keen", worker=1) as new,
        site.client("near", worker=0) as near,
        site.client("far", worker=1) as far,
    ):
        token = (await old.join(code, resumable=True))["resumeToken"]
        for watcher in (near, far):
            await watcher.join(code)
        for witness in (old, near):
            await witness.wait_for("peer:joined", peerId=far.peer_id)
        site.workers[0].send_signal(signal.SIGSTOP)
        for watcher in (near, far):
            for number in range(10):
                relay = {"targetPeerId": watcher.peer_id, "candidate": candidate(number)}
                await old.send("webrtc:ice", relay)
        await new.resume(code, token)
        await far.wait_for("peer:back", peerId=new.peer_id)
        site.workers[0].send_signal(signal.SIGCONT)
        await old.wait_for("error", code="not_in_room")
        assert await old.receive_close() == 4409
        await near.wait_for("peer:back", peerId=new.peer_id)
        for watcher in (near, far):
            relay = {"targetPeerId": watcher.peer_id, "candidate": "new"}
            await new.request("webrtc:ice", relay)
            assert (await watcher.wait_for("webrtc:ice"))["candidate"] == "new"  # the first one
        assert site.database.live_peers(code) == {new.peer_id, near.peer_id, far.peer_id}


class RelayingPeer:
    """A resumable peer that relays to a partner and records what it receives."""

    def __init__(self, client: ResumingClient) -> None:
        self.client = client
        self.acknowledged: list[int] = []
        self.unsure: set[int] = set()
        self.received: list[int] = []
        self.gaps = 0
        self.reported = 0

    def has_received_all_of(self, partner: RelayingPeer) -> bool:
        """Return whether all acknowledged relays of the partner arrived or were reported as lost."""
        return bool(partner.reported) or set(partner.acknowledged) <= set(self.received)

    async def send_relays(self, to: str, *, every: float, until: asyncio.Event) -> None:
        number = 0
        while not until.is_set():
            number += 1
            try:
                await self.client.relay(to, "candidate", candidate(number))
                self.acknowledged.append(number)
            except (RequestRefused, ConnectionLost):
                self.unsure.add(number)
            await asyncio.sleep(every)

    async def receive(self) -> None:
        async for name, data in self.client:
            if name == "webrtc:ice":
                self.received.append(int(data["candidate"].split()[0].removeprefix("candidate:")))
            elif name == "room:joined" and data.get("gap"):
                self.gaps += 1
            elif name == "error" and "targetPeerId" in data:
                self.reported += 1


async def test_a_rolling_restart_loses_no_acknowledged_relay(make_site: MakeSite) -> None:
    """Ten pairs send 200 relays a second over three workers. Each restart moves each client once."""
    site = make_site(engine="postgresql", redis=True, workers=3, server="uvicorn")
    pairs, every = 10, 0.1
    done = asyncio.Event()
    async with AsyncExitStack() as stack:
        peers: list[RelayingPeer] = []
        for number in range(2 * pairs):
            turn = [(number + offset) % 3 for offset in range(3)]
            client = await stack.enter_async_context(resuming(site, f"user{number}", *turn))
            peers.append(RelayingPeer(client))
        for first, second in zip(peers[::2], peers[1::2], strict=True):
            code = site.room()
            await first.client.join(code)
            await second.client.join(code)
        ids = [peer.client.peer_id for peer in peers]
        hearing = [asyncio.create_task(peer.receive()) for peer in peers]
        speaking = [
            asyncio.create_task(peer.send_relays(ids[number ^ 1], every=every, until=done))
            for number, peer in enumerate(peers)
        ]
        for worker in site.workers:
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait) == 0
            await asyncio.to_thread(worker.start)
            await asyncio.sleep(1)  # of traffic between two restarts
        done.set()
        await asyncio.gather(*speaking)
        for number, peer in enumerate(peers):
            received = partial(peer.has_received_all_of, peers[number ^ 1])
            await wait_until(
                received, f"{ids[number]} received what was acknowledged to its partner"
            )
        assert [peer.client.peer_id for peer in peers] == ids
        for number, peer in enumerate(peers):
            partner = peers[number ^ 1]
            assert peer.received == sorted(set(peer.received))  # once each, and in order
            lost = set(partner.acknowledged) - set(peer.received)
            assert len(lost) <= partner.reported
            assert set(peer.received) <= set(partner.acknowledged) | partner.unsure
            assert peer.client.reconnects <= len(site.workers)
        assert sum(len(peer.acknowledged) for peer in peers) > 1000
        for task in hearing:
            task.cancel()
