"""A database that blocks for three seconds does not affect peers that have joined."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path

import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import PAIRS, MakeSite
from tests.integration.locks import ALL_LOCK, ROOM_LOCK, Lock, WriteLock
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL
from tests.integration.traffic import RelayingPeer, wait_until

STALL = 3.0
"""Seconds. A relay that waited for the lock would take about as long."""


@pytest.fixture(scope="module", params=PAIRS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(**request.param)


@pytest.fixture
def lock(request: pytest.FixtureRequest, site: Site) -> Iterator[Lock | WriteLock]:
    lock: Lock | WriteLock
    if site.database.url.startswith("sqlite"):
        lock = WriteLock(site)
    else:
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        lock = Lock(postgresql, site)
    yield lock
    lock.close()


def held(lock: Lock | WriteLock, statement: str, *parameters: str) -> AbstractContextManager[None]:
    """Hold a lock; SQLite has only one."""
    return lock.hold(statement, *parameters) if isinstance(lock, Lock) else lock.hold()


@pytest.fixture
async def peers(site: Site) -> AsyncIterator[list[RelayingPeer]]:
    """Two peers of one room that relay to each other all the time; no relay may be refused."""
    room = site.room()
    async with AsyncExitStack() as stack:
        peers = [
            RelayingPeer(await stack.enter_async_context(site.client(f"t{n}"))) for n in range(2)
        ]
        for peer in peers:
            await peer.client.join(room)
        await peers[0].client.receive("peer:joined")
        listeners = [asyncio.create_task(peer.read_relays()) for peer in peers]
        first, second = peers
        tasks = [asyncio.create_task(one.relay_to(other)) for one, other in (peers, peers[::-1])]
        yield peers
        for peer in peers:
            peer.is_done = True
        await asyncio.gather(*tasks)
        for one, other in ((first, second), (second, first)):
            assert not one.refused
            await wait_until(lambda a=one, b=other: not a.lost_to(b), "the last relay")  # type: ignore[misc]
            await one.client.close()
        await asyncio.gather(*listeners, return_exceptions=True)


def p99(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.99)]


async def test_relays_and_pings_do_not_wait_for_a_blocked_join(
    site: Site, lock: Lock | WriteLock, peers: list[RelayingPeer]
) -> None:
    room = site.room()
    async with site.client("alice") as alice, site.client("bob") as bob:
        await wait_until(lambda: all(len(t.round_trips) >= 100 for t in peers), "relays before")
        before = [wait for peer in peers for wait in peer.round_trips]
        for peer in peers:
            peer.round_trips.clear()

        with held(lock, ROOM_LOCK, room):
            joining = asyncio.create_task(join(alice, room))
            end = time.monotonic() + STALL
            while time.monotonic() < end:
                await bob.request("ping", within=1)
            during = [wait for peer in peers for wait in peer.round_trips]
            assert await asyncio.wait_for(joining, 10) == "unavailable"  # while the lock is held
        await alice.join(room)
        assert site.database.live_rows(room) == 1
        assert len(during) > 100
        # The tolerance allows for the jitter of a busy machine with two cores.
        assert p99(during) < p99(before) + 0.25, (p99(before), p99(during))
        assert max(during) < STALL / 2


async def join(client: SignallingCommunicator, room: str) -> str:
    try:
        await client.join(room, within=30)
    except RequestRefused as refusal:
        return refusal.code
    return "joined"


async def test_a_relay_needs_no_query(
    site: Site, lock: Lock | WriteLock, peers: list[RelayingPeer]
) -> None:
    """With all tables locked, a query would wait until the end of the test."""
    with held(lock, ALL_LOCK):
        ends = [len(peer.round_trips) + 200 for peer in peers]
        await wait_until(
            lambda: all(len(t.round_trips) >= end for t, end in zip(peers, ends, strict=True)),
            "relays with all tables locked",
        )


async def test_a_relay_wakes_no_other_thread(site: Site, peers: list[RelayingPeer]) -> None:
    """All threads of a worker except its event loop sleep while it relays."""
    ends = [len(peer.round_trips) + 250 for peer in peers]
    before = sleep_counts(site)
    await wait_until(
        lambda: all(len(t.round_trips) >= end for t, end in zip(peers, ends, strict=True)),
        "500 relays",
        within=30,
    )
    after = sleep_counts(site)
    assert before.keys() == after.keys(), "a thread was started"
    loop = site.worker.pid
    assert after[loop] > before[loop]
    others = sum(after[thread] - before[thread] for thread in after if thread != loop)
    assert others < 50, "each relay woke a thread"  # idle pools wake now and then


def sleep_counts(site: Site) -> dict[int, int]:
    """Return the number of voluntary context switches of each thread, by thread id."""
    counts = {}
    for status in Path(f"/proc/{site.worker.pid}/task").glob("*/status"):
        (line,) = [each for each in status.read_text().splitlines() if each.startswith("volunt")]
        counts[int(status.parent.name)] = int(line.split()[1])
    return counts
