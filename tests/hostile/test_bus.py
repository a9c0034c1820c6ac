"""Attacks through Redis: forged, replayed and foreign messages, and a second site."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest

from signalling.layers import RedisChannelLayer
from signalling.layers.namespaces import VERSION, Namespace
from signalling.peers.messages import Closed, room_group
from signalling.testing import SignallingCommunicator
from tests.hostile.bystander import Bystander
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.stores import Redis, store_fixture

Pair = tuple[SignallingCommunicator, SignallingCommunicator]


redis = store_fixture(Redis)  # forged messages reach every site on it


@pytest.fixture(scope="module")
def site(make_site: MakeSite, redis: Redis) -> Site:
    return make_site(redis=redis, workers=2, server="uvicorn")


@pytest.fixture
async def pair(site: Site) -> AsyncIterator[Pair]:
    """Two peers of a room, on different workers."""
    room = site.room()
    async with site.client("alice", worker=0) as alice, site.client("bob", worker=1) as bob:
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        yield alice, bob


async def check_relays(*pair: SignallingCommunicator) -> None:
    """Relay both ways, and check that nothing else has arrived."""
    for one, other in (pair, pair[::-1]):
        await one.request("webrtc:ice", {"targetPeerId": other.peer_id, "candidate": "here"})
        assert (await other.receive("webrtc:ice"))["candidate"] == "here"
        await other.receive_nothing()


def forged(source: str, number: int, message: dict[str, Any]) -> bytes:
    """Return the body of a batch with a group message."""
    group = ["group", room_group(message["room"]), message]
    return b"".join(map(msgpack.packb, ([source, number, int(time.time())], group, ["beat"])))


async def test_forged_batches_reach_no_socket(
    site: Site, redis: Redis, bystander: Bystander, pair: Pair
) -> None:
    client: Any = redis.client
    addresses = client.pubsub_channels("*:bus:*")
    sources = [address.rpartition(":")[2] for address in addresses]
    assert len(sources) == 3  # two processes, and all of them
    closed = dict(Closed(type="signalling.closed", room=bystander.room, reason="forged"))
    keys: tuple[list[str], ...] = ([], ["another secret"])
    payloads = [b"", b"garbage", bytes([VERSION, 255]), b"\xdd\xff\xff\xff\xff" * 100]
    with bystander.watched():
        for address in addresses:
            for source in sources:
                for number in (-1, 1, 10**6, 2**63):
                    body = forged(source, number, closed)
                    payloads += [Namespace("", names).seal(address, body) for names in keys]
        for _ in range(10):
            pipeline = client.pipeline(transaction=False)
            for address in addresses:
                for payload in payloads:
                    pipeline.publish(address, payload)
            await asyncio.to_thread(pipeline.execute)
        await check_relays(*pair)
    for worker in site.workers:
        lines = [line for line in worker.output().splitlines() if "Dropped a payload" in line]
        assert 1 <= len(lines) <= 3, lines  # one a minute for each kind


async def test_messages_of_the_next_release_close_no_socket(
    redis: Redis, bystander: Bystander, pair: Pair
) -> None:
    layer = RedisChannelLayer(hosts=[redis.url])
    rooms = [room_group(bystander.room), room_group(pair[0].room["roomId"].removeprefix("room_"))]
    with bystander.watched():
        for group in rooms:
            for kind in ("signalling.relay.2", "signalling.roster", "room.reactions"):
                await layer.group_send(group, {"type": kind, "new": [1, 2]})
        (site,) = layer.namespaces
        address = site.channel("all")
        for version in (VERSION + 1, 255):
            payload = bytes([version]) + site.seal(address, b"unreadable")[1:]
            redis.client.publish(address, payload)
        head = ["feedfacecafe", 1, int(time.time()), {"region": "eu"}]
        body = b"".join(map(msgpack.packb, (head, ["reactions", "room"], ["beat", 7])))
        redis.client.publish(address, site.seal(address, body))
        await check_relays(*pair)
    await layer.close()


async def test_a_second_site_on_the_redis_is_not_heard(
    make_site: MakeSite, site: Site, redis: Redis, pair: Pair
) -> None:
    """Its secret and its rooms have the same names. Only the number of its database differs."""
    layer = {
        "BACKEND": "signalling.layers.RedisChannelLayer",
        "CONFIG": {"hosts": [f"{redis.url}?db=1"]},
    }
    other = make_site(channel_layer=layer, server="uvicorn")
    code = pair[0].room["roomId"].removeprefix("room_")
    await asyncio.to_thread(
        other.run_python,
        "from django.contrib.auth.models import User; from rooms import services; "
        "host = User.objects.create_user('host'); "
        f"services.close_room(services.open_room(host=host, name='Tea', code={code!r}))",
    )
    await check_relays(*pair)
