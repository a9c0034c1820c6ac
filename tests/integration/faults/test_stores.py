"""Outages of the database and of Redis: what keeps working, and what is made up for later.

See ``test_redis_faults.py`` for relays during an outage of Redis and ``test_database_stall.py`` for
relays during a stall of the database.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from signalling.client import ResumingClient
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.locks import ROOM_LOCK, Lock
from tests.integration.servers import Site, Worker, migrate
from tests.integration.stores import PostgreSQL, Redis, store_fixture
from tests.integration.traffic import conversation, wait_until

LEASES = {"LEASE_SECONDS": 3, "LEASE_RENEWAL": 1}
OUTAGE = 5.0
"""Seconds: longer than a lease."""


postgresql = store_fixture(PostgreSQL)  # tests of this module stop both
redis = store_fixture(Redis)


@pytest.fixture(scope="module")
def empty_postgresql(postgresql: PostgreSQL) -> str:
    migrate(postgresql.create("empty"))
    return "empty"


@pytest.fixture(scope="module")
def site(make_site: MakeSite, postgresql: PostgreSQL, redis: Redis) -> Site:
    return make_site(
        engine="postgresql", redis=redis, workers=2, server="uvicorn", signalling=LEASES
    )


def health(worker: Worker, which: str) -> tuple[int, Any]:
    try:
        with urlopen(f"{worker.http_url}/health/{which}/", timeout=10) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


async def get_health(worker: Worker, which: str) -> tuple[int, Any]:
    return await asyncio.to_thread(health, worker, which)


def sign_in(worker: Worker, username: str) -> int:
    """Request tokens with a password. Return the status."""
    form = urlencode({"username": username, "password": username}).encode()
    try:
        with urlopen(f"{worker.http_url}/api/token/", form, timeout=10) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


async def is_ready(site: Site) -> None:
    """Wait until all workers report that they are ready."""
    for worker in site.workers:
        deadline = time.monotonic() + 15
        while (await get_health(worker, "ready"))[0] != 200:
            assert time.monotonic() < deadline, f"{worker.name} does not become ready"
            await asyncio.sleep(0.1)


def crash(postgresql: PostgreSQL) -> None:
    """Stop PostgreSQL without a shutdown, as in a crash."""
    postgresql.send_signal(signal.SIGQUIT)
    postgresql.wait()


async def test_the_database_terminates_all_connections(site: Site, postgresql: PostgreSQL) -> None:
    """Before the other tests: for some seconds after an outage, the pool waits before it connects."""
    code = site.room()
    async with site.client("watcher") as watcher, site.client("other", worker=1) as other:
        await watcher.join(code)
        with postgresql.connect("postgres") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [site.database.name],
            )
        await other.join(code)
        await watcher.wait_for("peer:joined", peerId=other.peer_id)


async def test_an_outage_of_the_database(site: Site, postgresql: PostgreSQL, logs: Logs) -> None:
    logs.expect("Database unavailable")
    code = site.room()
    async with AsyncExitStack() as stack:
        talk = await stack.enter_async_context(conversation(site))
        watcher = await stack.enter_async_context(site.client("watcher", worker=0))
        leaver = await stack.enter_async_context(site.client("leaver", worker=1))
        plain = await stack.enter_async_context(site.client("plain", worker=1))
        late = await stack.enter_async_context(site.client("late", worker=0))
        keen = ResumingClient([worker.url for worker in site.workers], token=site.token("keen"))
        await stack.enter_async_context(keen)
        for client in (watcher, leaver, plain):
            await client.join(code)
        await keen.join(code)
        keen_id = keen.peer_id
        await watcher.wait_for("peer:joined", peerId=keen_id)
        begun = time.monotonic()
        crash(postgresql)
        with pytest.raises(RequestRefused) as refused:
            await late.join(code, within=10)
        assert refused.value.code == "unavailable"
        assert refused.value.details["retryAfter"] > 0
        await leaver.leave()
        await plain.reset()
        assert (await watcher.wait_for("peer:left", peerId=leaver.peer_id))["reason"] == "left"
        await watcher.wait_for("peer:left", peerId=plain.peer_id, within=10)
        assert (await get_health(site.worker, "live"))[0] == 200
        status, checks = await get_health(site.worker, "ready")
        assert (status, checks["checks"]["database"]) == (503, False)
        await asyncio.sleep(max(0.0, begun + OUTAGE - time.monotonic()))
        await asyncio.to_thread(postgresql.start)
        await is_ready(site)
        expected = {watcher.peer_id, keen_id}
        await wait_until(
            lambda: site.database.live_peers(code) == expected, "leaves are written", within=15
        )
        # More than two leases: all of them had expired, and no worker is dead.
        await asyncio.sleep(2 * LEASES["LEASE_SECONDS"] + 1)
        assert site.database.workers() == 2
        assert site.database.live_peers(code) == expected
        await watcher.request("ping")
        assert "peer:left" not in [frame["event"] for frame in watcher.unread]
        assert keen.reconnects == 0
        await late.join(code)
        assert all(peer.client.close_code is None for peer in talk.peers)


async def test_a_peer_disconnected_during_an_outage_of_the_database_resumes(
    site: Site, postgresql: PostgreSQL, logs: Logs
) -> None:
    logs.expect("Database unavailable")
    code = site.room()
    async with site.client("watcher") as watcher, site.client("keen", worker=1) as keen:
        await watcher.join(code)
        token = (await keen.join(code, resumable=True))["resumeToken"]
        await watcher.wait_for("peer:joined")
        crash(postgresql)
        await keen.reset()
        await watcher.wait_for("peer:away", peerId=keen.peer_id, within=10)
        await watcher.request("webrtc:ice", {"targetPeerId": keen.peer_id, "candidate": "held"})
        await asyncio.to_thread(postgresql.start)
        await is_ready(site)
        async with site.client("keen", worker=0) as again:
            await again.resume(code, token)
            assert (await again.receive("webrtc:ice"))["candidate"] == "held"
            await watcher.wait_for("peer:back", peerId=keen.peer_id)


async def test_a_leave_during_an_outage_of_both_stores_leaves_no_ghost(
    site: Site, postgresql: PostgreSQL, redis: Redis, logs: Logs
) -> None:
    logs.expect("Database unavailable")
    code = site.room()
    async with site.client("watcher") as watcher, site.client("plain", worker=1) as plain:
        await watcher.join(code)
        await plain.join(code)
        await watcher.wait_for("peer:joined", peerId=plain.peer_id)
        logged = len(site.workers[1].log.read_text())
        redis.stop(signal.SIGKILL)
        crash(postgresql)
        await plain.reset()
        await wait_until(
            lambda: "announcement delayed" in site.workers[1].log.read_text()[logged:],
            "the leave finds neither store",
            within=15,
        )
        await asyncio.to_thread(redis.start)
        await asyncio.to_thread(postgresql.start)
        await watcher.wait_for("peer:left", peerId=plain.peer_id, within=20)
        assert site.database.live_peers(code) == {watcher.peer_id}
        await watcher.request("ping")
        assert "peer:left" not in [frame["event"] for frame in watcher.unread]


async def join_with_retries(client: SignallingCommunicator, code: str) -> None:
    """Join, and retry while the server is unavailable."""
    while True:
        try:
            await client.join(code, within=15)
            return
        except RequestRefused as refused:
            if refused.code != "unavailable":
                raise


async def test_a_lock_held_longer_than_a_lease_ends_no_worker(
    site: Site, postgresql: PostgreSQL, logs: Logs
) -> None:
    """Statements that wait for the lock occupy all database threads but that of the lease."""
    logs.expect("canceling statement due to lock timeout")
    code, elsewhere = site.room(), site.room()
    lock = Lock(postgresql, site)
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(site.client("plain", worker=1))
        await plain.join(elsewhere)
        joiners = [
            await stack.enter_async_context(site.client(f"joiner{n}", worker=0)) for n in range(4)
        ]
        with lock.hold(ROOM_LOCK, code):
            joins = [asyncio.create_task(join_with_retries(client, code)) for client in joiners]
            await asyncio.sleep(2 * LEASES["LEASE_SECONDS"] + 3)
            assert site.database.workers() == 2
        await asyncio.gather(*joins)
        await plain.receive_nothing()
    lock.close()


async def test_an_outage_of_redis(site: Site, redis: Redis) -> None:
    code = site.room()
    async with AsyncExitStack() as stack:
        near = [await stack.enter_async_context(site.client(f"near{n}", worker=0)) for n in (1, 2)]
        far = await stack.enter_async_context(site.client("far", worker=1))
        keen = await stack.enter_async_context(site.client("keen", worker=0))
        again = await stack.enter_async_context(site.client("keen", worker=0))
        for client in (*near, far):
            await client.join(code)
        token = (await keen.join(code, resumable=True))["resumeToken"]
        await far.wait_for("peer:joined", peerId=keen.peer_id)
        redis.stop(signal.SIGKILL)
        to_near = {"targetPeerId": near[1].peer_id, "candidate": "near"}
        await near[0].request("webrtc:ice", to_near)
        assert (await near[1].wait_for("webrtc:ice"))["candidate"] == "near"
        with pytest.raises(RequestRefused) as refused:
            await far.request("webrtc:ice", to_near)
        assert refused.value.code == "unavailable"
        status, checks = await get_health(site.worker, "ready")
        assert (status, checks["checks"]["channel_layer"]) == (503, False)
        assert await asyncio.to_thread(sign_in, site.worker, "far") == 200  # the cache is down too
        assert await asyncio.to_thread(sign_in, site.worker, "far") == 200
        await keen.reset()
        await near[0].wait_for("peer:away", peerId=keen.peer_id)
        await near[0].request("webrtc:ice", {"targetPeerId": keen.peer_id, "candidate": "held"})
        await again.resume(code, token, within=10)
        assert (await again.receive("webrtc:ice"))["candidate"] == "held"
        await near[0].wait_for("peer:back", peerId=keen.peer_id)
        await asyncio.to_thread(redis.start)
        await is_ready(site)
        # The remote peer reads from the database what it has missed: keen has another channel now.
        await far.wait_for("peer:back", peerId=keen.peer_id, within=10)
        await far.request("webrtc:ice", {"targetPeerId": keen.peer_id, "candidate": "far"})
        assert (await again.wait_for("webrtc:ice", candidate="far"))["fromPeerId"] == far.peer_id
        redis.client.flushall()
        await far.request("webrtc:ice", to_near)
        assert all(client.close_code is None for client in (*near, far, again))
