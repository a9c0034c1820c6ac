from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull

from signalling.layers import ChannelGone, RedisChannelLayer, Undeliverable
from tests.integration.servers import Redis, eventually, running
from tests.signalling.layers.conftest import MakeLayer

Message = dict[str, Any]


class ChannelSubscription:
    """An attached channel, and what it has heard."""

    def __init__(self, layer: RedisChannelLayer, channel: str) -> None:
        self.layer = layer
        self.channel = channel
        self.heard: list[Message] = []
        self._something = asyncio.Event()
        layer.attach(channel, self._hear)

    def _hear(self, message: Message) -> None:
        self.heard.append(message)
        self._something.set()

    async def receive(self, count: int) -> list[Message]:
        """Wait until so much has been heard."""
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self._something.clear()
                await self._something.wait()
        return self.heard


async def ear(layer: RedisChannelLayer, *groups: str) -> ChannelSubscription:
    channel = await layer.new_channel()
    ear = ChannelSubscription(layer, channel)
    for group in groups:
        await layer.group_add(group, channel)
    return ear


def clients(redis: Redis) -> list[dict[str, Any]]:
    found: Any = redis.client.client_list()
    return list(found)


def calls(redis: Redis, command: str) -> int:
    """Return how often a Redis was told something."""
    statistics: Any = redis.client.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {}).get("calls", 0))


def host_of(layer: RedisChannelLayer) -> int:
    """Return which of its hosts a layer listens to."""
    hub = layer._member().hub
    return hub.shards.index(hub.own_shard)


@pytest.fixture
def other_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


# --- Two processes ------------------------------------------------------------------------------


async def test_messages_reach_other_processes(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    listener = await ear(there, "tea")
    message: dict[Any, Any] = {"type": "one", "bytes": b"\xff", 3: "int key"}
    await here.send(listener.channel, message)
    await here.group_send("tea", {"type": "two"})
    assert await listener.receive(2) == [message, {"type": "two"}]


async def test_members_of_the_senders_process_hear_at_once(make_layer: MakeLayer) -> None:
    layer = make_layer()
    listener = await ear(layer, "tea")
    message = {"type": "one"}
    await layer.send(listener.channel, message)
    assert listener.heard[0] is message
    sending = asyncio.ensure_future(layer.group_send("tea", message))
    await asyncio.sleep(0)
    assert len(listener.heard) == 2
    await sending


async def test_a_stock_consumer_in_another_process_misses_nothing_between_two_receives(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()
    for value in range(5):  # nobody waits at this moment
        await here.send(channel, {"type": "number", "value": value})
    heard = [await asyncio.wait_for(there.receive(channel), 10) for _ in range(5)]
    assert [message["value"] for message in heard] == [0, 1, 2, 3, 4]


async def test_a_named_queue_is_shared_by_all_processes(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    receivers = [asyncio.ensure_future(layer.receive("thumbnails")) for layer in (here, there)]
    await asyncio.sleep(0.05)
    for value in range(2):
        await here.send("thumbnails", {"type": "number", "value": value})
    heard = await asyncio.wait_for(asyncio.gather(*receivers), 10)
    assert sorted(message["value"] for message in heard) == [0, 1]


async def test_a_named_queue_outlives_its_senders(make_layer: MakeLayer) -> None:
    sender = make_layer()
    message: dict[Any, Any] = {"type": "waits", 1: 2}
    await sender.send("thumbnails", message)
    await sender.close()
    assert await asyncio.wait_for(make_layer().receive("thumbnails"), 10) == message


async def test_what_a_cancelled_receiver_took_goes_back_to_its_queue(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    receiver = asyncio.ensure_future(here.receive("thumbnails"))
    await asyncio.sleep(0.05)
    receiver.cancel()
    await asyncio.wait([receiver])
    await there.send("thumbnails", {"type": "number"})  # Redis gives it to the cancelled one
    assert await asyncio.wait_for(there.receive("thumbnails"), 10) == {"type": "number"}


async def test_only_channels_of_a_process_may_be_members_of_its_groups(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    foreign = await there.new_channel()
    for channel in ("thumbnails", foreign, "made!up"):
        with pytest.raises(ValueError, match="no channel of this process"):
            await here.group_add("tea", channel)


async def test_a_message_is_a_dict(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    message: Any = "hello"
    for channel in ("thumbnails", await there.new_channel()):
        with pytest.raises(TypeError):
            await here.send(channel, message)


# --- Never silent -------------------------------------------------------------------------------


async def test_a_message_to_a_process_that_has_ended_is_undeliverable(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()
    await there.close()
    with pytest.raises(Undeliverable, match="nobody hears"):
        await here.send(channel, {"type": "late"})


async def test_a_channel_that_has_gone_says_so_in_its_process_and_is_reported_to_others(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    sender, listener = await ear(here), await ear(there)
    there.detach(listener.channel)
    with pytest.raises(ChannelGone):
        await there.send(listener.channel, {"type": "late"})
    await here.send(listener.channel, {"type": "late", "reply_channel": sender.channel})
    assert await sender.receive(1) == [{"type": "channel.lost", "channel": listener.channel}]


async def test_a_full_channel_of_another_process_is_reported(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer(capacity=1)
    sender, channel = await ear(here), await there.new_channel()
    for _ in range(2):
        await here.send(channel, {"type": "one", "reply_channel": sender.channel})
    assert await sender.receive(1) == [{"type": "channel.lost", "channel": channel}]


async def test_a_full_member_is_reported_after_the_others_have_been_served(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(capacity=1), make_layer()
    full = await here.new_channel()
    await here.group_add("tea", full)
    listener = await ear(there, "tea")
    await here.group_send("tea", {"type": "one"})
    with pytest.raises(ChannelFull):
        await here.group_send("tea", {"type": "two"})
    assert await listener.receive(2) == [{"type": "one"}, {"type": "two"}]


async def test_without_a_redis_there_is_no_channel(make_layer: MakeLayer) -> None:
    layer = make_layer("unix:///nowhere/socket", timeout=0.2)
    with pytest.raises(Undeliverable):
        await layer.new_channel()
    with pytest.raises(Undeliverable):
        await layer.group_send("tea", {"type": "one"})


# --- Hosts ----------------------------------------------------------------------------------------


async def test_hosts_are_urls_pairs_or_options(make_layer: MakeLayer, redis: Redis) -> None:
    forms = make_layer("redis://a:1/2", ("b", 3), {"address": "rediss://c:4", "ssl_ca_certs": "x"})
    assert forms.hosts == [
        {"address": "redis://a:1/2"},
        {"address": "redis://b:3"},
        {"address": "rediss://c:4", "ssl_ca_certs": "x"},
    ]
    one = make_layer({"address": redis.url, "client_name": "signalling-test"})
    other = make_layer(redis.url)
    listener = await ear(one, "tea")
    await other.send(listener.channel, {"type": "hello"})
    await listener.receive(1)
    assert "signalling-test" in {client["name"] for client in clients(redis)}


@pytest.mark.parametrize("processes", [2, 5])
async def test_processes_spread_over_two_hosts_hear_once_and_in_order(
    make_layer: MakeLayer, redis: Redis, other_redis: Redis, processes: int
) -> None:
    layers = [make_layer(redis.url, other_redis.url) for _ in range(processes)]
    while len({host_of(layer) for layer in layers}) == 1:  # ids are random
        layers[-1] = make_layer(redis.url, other_redis.url)
    ears = [await ear(layer, "all") for layer in layers]

    async def talk(number: int) -> None:
        for value in range(20):
            message = {"type": "number", "by": number, "value": value}
            if value % 3 == 0:
                await layers[number].group_send("all", message)
            else:
                await asyncio.gather(
                    *(layers[number].send(listener.channel, message) for listener in ears)
                )

    await asyncio.gather(*(talk(number) for number in range(processes)))
    for listener in ears:
        heard = await listener.receive(20 * processes)
        for number in range(processes):
            said = [message["value"] for message in heard if message["by"] == number]
            assert said == list(range(20))


async def test_named_queues_spread_over_two_hosts(
    make_layer: MakeLayer, redis: Redis, other_redis: Redis
) -> None:
    here, there = (make_layer(redis.url, other_redis.url) for _ in range(2))
    for number in range(10):
        await here.send(f"queue{number}", {"type": "number", "value": number})
    for number in range(10):
        message = await asyncio.wait_for(there.receive(f"queue{number}"), 10)
        assert message["value"] == number
    assert calls(other_redis, "rpush") > 0


# --- The end ----------------------------------------------------------------------------------------


async def test_a_closed_layer_leaves_no_task_and_no_connection(own_redis: Redis) -> None:
    before = asyncio.all_tasks()
    connections = len(clients(own_redis))
    layer = RedisChannelLayer(hosts=[own_redis.url])
    listener = await ear(layer, "tea")
    await layer.group_send("tea", {"type": "one"})
    receiver = asyncio.ensure_future(layer.receive("thumbnails"))
    await asyncio.sleep(0.05)
    receiver.cancel()
    await asyncio.wait([receiver])
    layer.detach(listener.channel)
    await asyncio.wait_for(layer.close(), 10)
    assert asyncio.all_tasks() == before
    eventually(lambda: len(clients(own_redis)) == connections)
    await layer.close()


async def test_a_sender_that_waits_hears_that_the_layer_was_closed(own_redis: Redis) -> None:
    here, there = (RedisChannelLayer(hosts=[own_redis.url]) for _ in range(2))
    channel = await there.new_channel()
    sending = asyncio.ensure_future(here.send(channel, {"type": "one"}))
    await asyncio.sleep(0)
    await asyncio.wait_for(here.close(), 10)
    with pytest.raises(Undeliverable):
        await asyncio.wait_for(sending, 10)
    await there.close()


async def test_the_loops_of_synchronous_senders_leave_nothing(
    own_redis: Redis, make_layer: MakeLayer
) -> None:
    layer = make_layer(own_redis.url)
    listener = await ear(layer, "tea")
    connections = len(clients(own_redis))

    def send() -> None:
        for value in range(20):
            async_to_sync(layer.group_send)("tea", {"type": "number", "value": value})

    await asyncio.wait_for(asyncio.to_thread(send), 20)
    heard = await listener.receive(20)
    assert [message["value"] for message in heard] == list(range(20))
    gc.collect()
    assert len(layer._members) == 1
    # One more: the layer has published by now.
    eventually(lambda: len(clients(own_redis)) <= connections + 1)


async def test_nothing_stays_of_channels_that_came_and_went(make_layer: MakeLayer) -> None:
    layer = make_layer()
    for number in range(2_000):
        listener = await ear(layer, f"room.{number % 10}")
        layer.detach(listener.channel)
    local = layer._member().local
    assert (len(local.channels), len(local.groups)) == (0, 0)
