"""Our consumer on the channel layers of others: the seed's use cases, word for word, and the rest."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from signalling.protocol import CloseCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.servers import Site
from tests.integration.stores import Redis, running
from tests.integration.test_seed import TestEdgeCases, TestJoinRoom, TestLeaveRoom, TestSignalling
from tests.integration.traffic import wait_until

__all__ = ["TestEdgeCases", "TestJoinRoom", "TestLeaveRoom", "TestSignalling"]

ON_REDIS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
SAID_OF_IT = {
    "core": "Channel layer unavailable, retrying",
    "pubsub": "Unexpected exception in receive task",
}
OFFER = {"type": "offer", "sdp": "v=0\r\n"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis that no other test needs."""
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


def make_stock_site(make_site: MakeSite, layer: str, redis: Redis) -> Site:
    """Return a site of two workers, among which its clients take turns; in memory it is one."""
    if layer == "memory":
        return make_site(channel_layer={"BACKEND": "channels.layers.InMemoryChannelLayer"})
    config: dict[str, Any] = {"hosts": [redis.url]}
    return make_site(
        channel_layer={"BACKEND": ON_REDIS[layer], "CONFIG": config},
        redis=redis,
        workers=2,
        is_spread=True,
    )


@pytest.fixture(scope="module", params=["memory", *ON_REDIS])
def site(request: pytest.FixtureRequest, make_site: MakeSite, redis: Redis) -> Site:
    return make_stock_site(make_site, request.param, redis)


@pytest.fixture
def room(site: Site) -> str:
    return site.room()


async def test_who_comes_talks_and_goes(site: Site, room: str) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        await alice.join(room)
        await bob.join(room)
        assert (await alice.receive("peer:joined"))["peerId"] == bob.peer_id
        for number in range(50):
            for one, other in ((alice, bob), (bob, alice)):
                await one.request(
                    "webrtc:ice", {"targetPeerId": other.peer_id, "candidate": f"{number}"}
                )
        for client in (alice, bob):
            for number in range(50):
                assert (await client.receive("webrtc:ice"))["candidate"] == f"{number}"
        await bob.leave()
        assert (await alice.receive("peer:left"))["peerId"] == bob.peer_id
        await bob.receive_nothing()
        await alice.receive_nothing()


@pytest.mark.parametrize("site", ON_REDIS, indirect=True, scope="module")
async def test_a_room_that_is_closed_from_outside(site: Site, room: str) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        await asyncio.to_thread(
            site.run_python,
            "from rooms.models import Room; from rooms.services import close_room; "
            f"close_room(Room.objects.get(code={room!r}))",
        )
        for client in (alice, bob):
            assert (await client.receive("room:closed"))["reason"] == "closed"
            assert await client.receive_close() == CloseCode.ROOM_CLOSED


@pytest.mark.parametrize("layer", ON_REDIS)
async def test_a_redis_that_is_killed_and_starts_again_closes_no_socket(
    make_site: MakeSite, redis: Redis, logs: Logs, layer: str
) -> None:
    """Stock layers forget who was where, so who was in a room joins again."""
    logs.expect(SAID_OF_IT[layer])
    site = make_stock_site(make_site, layer, redis)
    room = site.room()
    async with site.client("alice") as alice, site.client("bob") as bob:
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        redis.send_signal(signal.SIGKILL)
        redis.wait()
        await alice.request("ping")
        await asyncio.to_thread(redis.start)
        await hears_again(alice, bob)
        await hears_again(bob, alice)
        again = site.room()
        for client in (alice, bob):
            await client.request("leave:room", within=10)
        await alice.join(again)
        await bob.join(again)
        await wait_until(lambda: any(f["event"] == "peer:joined" for f in alice.unread), "bob")
        await bob.request("webrtc:offer", {"targetPeerId": alice.peer_id, "offer": OFFER})
        await alice.wait_for("webrtc:offer")
        assert alice.close_code is None
        assert bob.close_code is None
    await asyncio.to_thread(site.stop)


async def hears_again(one: SignallingCommunicator, other: SignallingCommunicator) -> None:
    """Relay until something arrives: a stock layer loses what is sent before it has noticed."""
    async with asyncio.timeout(10):
        while not any(frame["event"] == "webrtc:ice" for frame in other.unread):
            with suppress(RequestRefused):
                await one.request("webrtc:ice", {"targetPeerId": other.peer_id, "candidate": ""})
            await other.request("ping")
