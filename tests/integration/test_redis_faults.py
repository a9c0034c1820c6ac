"""Redis dies, hangs, cuts off its clients or forgets everything: no socket closes, nothing is silent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from signalling.testing import SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.stores import Redis, running
from tests.integration.traffic import Conversation, conversation

BACK = 2.0
"""Seconds after which relays between workers go on, once Redis is back."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis that no other test needs."""
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture(scope="module")
def site(make_site: MakeSite, redis: Redis) -> Site:
    """Two workers; the logs of an outage are full of it, so none of them is a bug."""
    return make_site(redis=redis, workers=2)


@pytest.fixture
async def talk(site: Site) -> AsyncIterator[Conversation]:
    """A conversation that is over, and accounted for, when the test ends."""
    async with conversation(site) as talk:
        yield talk


@pytest.fixture
async def passers_by(talk: Conversation) -> AsyncIterator[list[SignallingCommunicator]]:
    """Two at each worker: two who will join, one who will leave and one who will be cut off.

    All are connected, since a new socket needs a Redis that answers.
    """
    async with AsyncExitStack() as stack:
        clients = [talk.site.client(f"passer-by{n}", worker=n % 2) for n in range(4)]
        for client in clients:
            await stack.enter_async_context(client)
        for client in clients[2:]:
            await client.join(talk.room)
        await talk.everybody_is_known()
        yield clients


async def come_and_go(passers_by: list[SignallingCommunicator], room: str) -> None:
    comes, comes_too, leaves, is_cut_off = passers_by
    await asyncio.gather(
        comes.join(room, within=10),
        comes_too.join(room, within=10),
        leaves.request("leave:room", within=10),
        is_cut_off.reset(),
    )


async def test_a_redis_that_is_killed_and_starts_again(
    talk: Conversation, redis: Redis, passers_by: list[SignallingCommunicator]
) -> None:
    redis.send_signal(signal.SIGKILL)
    redis.wait()
    outage = asyncio.create_task(asyncio.sleep(1))
    await come_and_go(passers_by, talk.room)
    await talk.goes_on(*talk.together)
    await outage
    assert all(talker.refused for talker in talk.parted)
    await asyncio.to_thread(redis.start)
    await talk.goes_on(*talk.together, talk.parted, within=BACK)
    await talk.everybody_is_known()


async def test_a_redis_that_hangs(
    talk: Conversation, redis: Redis, passers_by: list[SignallingCommunicator]
) -> None:
    redis.send_signal(signal.SIGSTOP)
    outage = asyncio.create_task(asyncio.sleep(7))
    try:
        await come_and_go(passers_by, talk.room)
        while not outage.done():
            await talk.goes_on(*talk.together)
    finally:
        redis.send_signal(signal.SIGCONT)
    assert all(talker.refused for talker in talk.parted)
    await talk.goes_on(*talk.together, talk.parted, within=BACK)
    await talk.everybody_is_known()


async def test_a_redis_that_cuts_off_its_clients_again_and_again(
    talk: Conversation, redis: Redis, passers_by: list[SignallingCommunicator]
) -> None:
    for second in range(5):
        for kind in ("normal", "pubsub"):
            # Not this client itself, so that it may be asked again.
            redis.client.client_kill_filter(_type=kind, skipme=True)
        pause = asyncio.create_task(asyncio.sleep(1))
        if second == 2:
            await come_and_go(passers_by, talk.room)
        while not pause.done():
            await talk.goes_on(*talk.together)
    await talk.goes_on(*talk.together, talk.parted, within=BACK)
    await talk.everybody_is_known()


async def test_a_redis_that_forgets_everything(talk: Conversation, redis: Redis) -> None:
    redis.client.flushall()
    await talk.goes_on(*talk.together, talk.parted, within=BACK)
    assert not any(talker.refused for talker in talk.talkers)


async def test_nobody_is_closed_on_a_redis_that_has_nothing_to_say(site: Site) -> None:
    """15 seconds: redis-py 8 gives up idle reads long before, stock layers close their sockets then."""
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
