"""The consumer on Channels' own channel layers: the core events and outages of Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from signalling.protocol import CloseCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.servers import Site
from tests.integration.stores import Redis, store_fixture
from tests.integration.test_core_events import (
    TestEdgeCases,
    TestJoinRoom,
    TestLeaveRoom,
    TestSignalling,
)
from tests.integration.traffic import wait_until

__all__ = ["TestEdgeCases", "TestJoinRoom", "TestLeaveRoom", "TestSignalling"]

ON_REDIS = {
    "core": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}
LOGGED = {
    "core": "Channel layer unavailable, retrying",
    "pubsub": "Unexpected exception in receive task",
}
OFFER = {"type": "offer", "sdp": "v=0\r\n"}


redis = store_fixture(Redis)  # tests of this module kill it


def make_stock_site(make_site: MakeSite, layer: str, redis: Redis) -> Site:
    """Return a site whose clients are spread over two workers; one worker for the memory layer."""
    if layer == "memory":
        return make_site(channel_layer={"BACKEND": "channels.layers.InMemoryChannelLayer"})
    return make_site(channel_layer=ON_REDIS[layer], redis=redis, workers=2, is_spread=True)


@pytest.fixture(scope="module", params=["memory", *ON_REDIS])
def site(request: pytest.FixtureRequest, make_site: MakeSite, redis: Redis) -> Iterator[Site]:
    site = make_stock_site(make_site, request.param, redis)
    yield site
    site.stop()  # before its Redis: channels_redis logs a traceback when it disappears


@pytest.fixture
def room(site: Site) -> str:
    return site.room()


async def test_joins_relays_and_leaves(site: Site, room: str) -> None:
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
async def test_a_room_closed_by_another_process_closes_its_sockets(site: Site, room: str) -> None:
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
async def test_a_restart_of_redis_closes_no_socket(
    make_site: MakeSite, redis: Redis, logs: Logs, layer: str
) -> None:
    """The stock layers lose their groups, so the peers join again."""
    logs.expect(LOGGED[layer])
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
        await wait_for_relays(alice, bob)
        await wait_for_relays(bob, alice)
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


async def wait_for_relays(one: SignallingCommunicator, other: SignallingCommunicator) -> None:
    """Relay until something arrives: a stock layer loses messages until it has reconnected."""
    async with asyncio.timeout(10):
        while not any(frame["event"] == "webrtc:ice" for frame in other.unread):
            with suppress(RequestRefused):
                await one.request("webrtc:ice", {"targetPeerId": other.peer_id, "candidate": ""})
            await other.request("ping")
