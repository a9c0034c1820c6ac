"""Redis dies, hangs, drops its clients or loses its data: no socket closes, losses are reported."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from signalling.testing import SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.stores import Redis, store_fixture
from tests.integration.traffic import Conversation, conversation

RECOVERY_SECONDS = 2.0
"""Relays between workers work again within this time after Redis has returned."""


redis = store_fixture(Redis)  # tests of this module kill it


@pytest.fixture(scope="module")
def site(make_site: MakeSite, redis: Redis) -> Site:
    """Two workers on this Redis; errors about its outages in their logs are expected."""
    return make_site(redis=redis, workers=2)


@pytest.fixture
async def talk(site: Site) -> AsyncIterator[Conversation]:
    """A running conversation; at the end of the test every relay must be accounted for."""
    async with conversation(site) as talk:
        yield talk


@pytest.fixture
async def visitors(talk: Conversation) -> AsyncIterator[list[SignallingCommunicator]]:
    """Four connected clients, two on each worker: two will join, one will leave, one will reset.

    They connect before the outage, because a new socket needs a Redis that answers.
    """
    async with AsyncExitStack() as stack:
        clients = [talk.site.client(f"visitor{n}", worker=n % 2) for n in range(4)]
        for client in clients:
            await stack.enter_async_context(client)
        for client in clients[2:]:
            await client.join(talk.room)
        await talk.check_rosters_against_database()
        yield clients


async def join_leave_and_reset(visitors: list[SignallingCommunicator], room: str) -> None:
    first, second, leaving, resetting = visitors
    await asyncio.gather(
        first.join(room, within=10),
        second.join(room, within=10),
        leaving.request("leave:room", within=10),
        resetting.reset(),
    )


async def test_a_restart_of_redis_closes_no_socket(
    talk: Conversation, redis: Redis, visitors: list[SignallingCommunicator]
) -> None:
    redis.send_signal(signal.SIGKILL)
    redis.wait()
    outage = asyncio.create_task(asyncio.sleep(1))
    await join_leave_and_reset(visitors, talk.room)
    await talk.wait_for_relays(*talk.local_pairs)
    await outage
    assert all(peer.refused for peer in talk.remote_pair)
    await asyncio.to_thread(redis.start)
    await talk.wait_for_relays(*talk.local_pairs, talk.remote_pair, within=RECOVERY_SECONDS)
    await talk.check_rosters_against_database()


async def test_a_hanging_redis_closes_no_socket(
    talk: Conversation, redis: Redis, visitors: list[SignallingCommunicator]
) -> None:
    redis.send_signal(signal.SIGSTOP)
    outage = asyncio.create_task(asyncio.sleep(7))
    try:
        await join_leave_and_reset(visitors, talk.room)
        while not outage.done():
            await talk.wait_for_relays(*talk.local_pairs)
    finally:
        redis.send_signal(signal.SIGCONT)
    assert all(peer.refused for peer in talk.remote_pair)
    await talk.wait_for_relays(*talk.local_pairs, talk.remote_pair, within=RECOVERY_SECONDS)
    await talk.check_rosters_against_database()


async def test_repeated_disconnections_from_redis_close_no_socket(
    talk: Conversation, redis: Redis, visitors: list[SignallingCommunicator]
) -> None:
    for second in range(5):
        for kind in ("normal", "pubsub"):
            # Not this client itself: the next round needs it.
            redis.client.client_kill_filter(_type=kind, skipme=True)
        pause = asyncio.create_task(asyncio.sleep(1))
        if second == 2:
            await join_leave_and_reset(visitors, talk.room)
        while not pause.done():
            await talk.wait_for_relays(*talk.local_pairs)
    await talk.wait_for_relays(*talk.local_pairs, talk.remote_pair, within=RECOVERY_SECONDS)
    await talk.check_rosters_against_database()


async def test_a_flushed_redis_refuses_no_relay(talk: Conversation, redis: Redis) -> None:
    redis.client.flushall()
    await talk.wait_for_relays(*talk.local_pairs, talk.remote_pair, within=RECOVERY_SECONDS)
    assert not any(peer.refused for peer in talk.peers)


async def test_an_idle_redis_connection_closes_no_socket(site: Site) -> None:
    """redis-py 8 ends idle reads before 15 seconds; the stock layers then close their sockets."""
    room = site.room()
    async with site.client("alice", worker=0) as alice, site.client("bob", worker=1) as bob:
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        await asyncio.sleep(15)
        for one, other in ((alice, bob), (bob, alice)):
            await one.request(
                "webrtc:ice", {"targetPeerId": other.peer_id, "candidate": "still here"}
            )
            await other.receive("webrtc:ice")
            await other.receive_nothing()
