from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull

from signalling.layers import ChannelGone, RedisChannelLayer, Undeliverable
from tests.integration.processes import eventually
from tests.integration.stores import Redis, store_fixture
from tests.patience import PATIENCE
from tests.signalling.layers.channels import attach, calls, clients
from tests.signalling.layers.conftest import MakeLayer


def host_of(layer: RedisChannelLayer) -> int:
    """Return the index of the host that a layer is subscribed on."""
    bus = layer._loop_layer().bus
    return bus.publishers.index(bus.publisher_for(bus.id))


other_redis = store_fixture(Redis, "function")


# --- Two processes ----------------------------------------------------------------------------


async def test_messages_reach_other_processes(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    receiver = await attach(there, "tea")
    message: dict[Any, Any] = {"type": "one", "bytes": b"\xff", 3: "int key"}
    await here.send(receiver.name, message)
    await here.group_send("tea", {"type": "two"})
    assert await receiver.receive(2) == [message, {"type": "two"}]


async def test_members_in_the_senders_process_receive_immediately(make_layer: MakeLayer) -> None:
    layer = make_layer()
    receiver = await attach(layer, "tea")
    message = {"type": "one"}
    await layer.send(receiver.name, message)
    assert receiver.received[0] is message
    sending = asyncio.ensure_future(layer.group_send("tea", message))
    await asyncio.sleep(0)
    assert len(receiver.received) == 2
    await sending


async def test_a_stock_consumer_in_another_process_misses_nothing_between_receives(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()
    for value in range(5):  # without a receiver at this moment
        await here.send(channel, {"type": "number", "value": value})
    received = [await asyncio.wait_for(there.receive(channel), PATIENCE) for _ in range(5)]
    assert [message["value"] for message in received] == [0, 1, 2, 3, 4]


async def test_processes_share_a_named_queue(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    receivers = [asyncio.ensure_future(layer.receive("thumbnails")) for layer in (here, there)]
    await asyncio.sleep(0.05)
    for value in range(2):
        await here.send("thumbnails", {"type": "number", "value": value})
    received = await asyncio.wait_for(asyncio.gather(*receivers), PATIENCE)
    assert sorted(message["value"] for message in received) == [0, 1]


async def test_a_named_queue_outlives_its_senders(make_layer: MakeLayer) -> None:
    sender = make_layer()
    message: dict[Any, Any] = {"type": "waits", 1: 2}
    await sender.send("thumbnails", message)
    await sender.close()
    assert await asyncio.wait_for(make_layer().receive("thumbnails"), PATIENCE) == message


async def test_the_message_of_a_cancelled_receiver_returns_to_its_queue(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    receiver = asyncio.ensure_future(here.receive("thumbnails"))
    await asyncio.sleep(0.05)
    receiver.cancel()
    await asyncio.wait([receiver])
    await there.send("thumbnails", {"type": "number"})  # Redis gives it to the cancelled receiver
    assert await asyncio.wait_for(there.receive("thumbnails"), PATIENCE) == {"type": "number"}


async def test_groups_accept_only_channels_of_their_process(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    foreign = await there.new_channel()
    for channel in ("thumbnails", foreign, "made!up"):
        with pytest.raises(ValueError, match="not a channel of this process"):
            await here.group_add("tea", channel)


async def test_a_message_must_be_a_dict(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    message: Any = "hello"
    for channel in ("thumbnails", await there.new_channel()):
        with pytest.raises(TypeError):
            await here.send(channel, message)


# --- No silent loss ---------------------------------------------------------------------------


async def test_a_message_to_an_ended_process_is_undeliverable(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    channel = await there.new_channel()
    await there.close()
    with pytest.raises(Undeliverable, match="no process is subscribed"):
        await here.send(channel, {"type": "late"})


async def test_processes_that_do_not_exist_leave_no_state(make_layer: MakeLayer) -> None:
    here = make_layer()
    await here.new_channel()
    for number in range(20):
        with pytest.raises(Undeliverable):
            await here.send(f"x.{number:012x}!y", {"type": "late"})
    (publisher,) = here._loop_layer().bus.publishers
    assert publisher._numbers.keys() <= {"all"}


async def test_a_detached_channel_raises_in_its_process_and_is_reported_to_others(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(), make_layer()
    sender, receiver = await attach(here), await attach(there)
    there.detach(receiver.name)
    with pytest.raises(ChannelGone):
        await there.send(receiver.name, {"type": "late"})
    await here.send(receiver.name, {"type": "late", "reply_channel": sender.name})
    assert await sender.receive(1) == [{"type": "channel.lost", "channel": receiver.name}]


async def test_a_full_channel_in_another_process_is_reported(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer(capacity=1)
    sender, channel = await attach(here), await there.new_channel()
    for _ in range(2):
        await here.send(channel, {"type": "one", "reply_channel": sender.name})
    assert await sender.receive(1) == [{"type": "channel.refused", "channel": channel}]


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_report_reaches_the_sender_of_a_message_that_another_process_has_passed_on(
    make_layer: MakeLayer, is_gone: bool
) -> None:
    """The process that has passed it on then still reaches the sender."""
    first, between, last = make_layer(), make_layer(), make_layer(capacity=1)
    sender, channel = await attach(first), await last.new_channel()
    await between.subscribed()
    message = {"type": "relay", "reply_channel": sender.name}
    await between.send(channel, message)
    if is_gone:
        last.detach(channel)
    between.put(channel, message)
    report = {"type": "channel.lost" if is_gone else "channel.refused", "channel": channel}
    assert await sender.receive(1) == [report]
    await between.send(sender.name, {"type": "later"})
    assert await sender.receive(2) == [report, {"type": "later"}]


async def test_a_loss_is_reported_to_a_named_queue(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer(capacity=1)
    channel = await there.new_channel()
    await here.subscribed()
    for _ in range(2):
        await here.send(channel, {"type": "one", "reply_channel": "reports"})
    async with asyncio.timeout(10):
        report = await there.receive("reports")
    assert report == {"type": "channel.refused", "channel": channel}


async def test_group_send_serves_all_others_before_it_reports_a_full_member(
    make_layer: MakeLayer,
) -> None:
    here, there = make_layer(capacity=1), make_layer()
    full = await here.new_channel()
    await here.group_add("tea", full)
    receiver = await attach(there, "tea")
    await here.group_send("tea", {"type": "one"})
    with pytest.raises(ChannelFull):
        await here.group_send("tea", {"type": "two"})
    assert await receiver.receive(2) == [{"type": "one"}, {"type": "two"}]


async def test_without_redis_no_channel_is_created(make_layer: MakeLayer) -> None:
    layer = make_layer("unix:///nowhere/socket", timeout=0.2)
    with pytest.raises(Undeliverable):
        await layer.new_channel()
    with pytest.raises(Undeliverable):
        await layer.group_send("tea", {"type": "one"})


async def test_a_process_that_can_only_send_is_not_subscribed(
    own_redis: Redis, make_layer: MakeLayer
) -> None:
    """Others are subscribed, so its messages have receivers."""
    there = make_layer(own_redis.url)
    receiver = await attach(there, "tea")
    own_redis.client.acl_setuser(
        "default",
        enabled=True,
        nopass=True,
        categories=["+@all"],
        commands=["-subscribe"],
        keys=["*"],
        channels=["*"],
    )
    here = make_layer(own_redis.url, timeout=2)
    await here.group_send("tea", {"type": "one"})
    assert await receiver.receive(1) == [{"type": "one"}]
    with pytest.raises(Undeliverable):
        await here.subscribed()


# --- Hosts ------------------------------------------------------------------------------------


async def test_hosts_are_urls_pairs_or_options(make_layer: MakeLayer, redis: Redis) -> None:
    forms = make_layer("redis://a:1/2", ("b", 3), {"address": "rediss://c:4", "ssl_ca_certs": "x"})
    assert forms.hosts == [
        {"address": "redis://a:1/2"},
        {"address": "redis://b:3"},
        {"address": "rediss://c:4", "ssl_ca_certs": "x"},
    ]
    one = make_layer({"address": redis.url, "client_name": "signalling-test"})
    other = make_layer(redis.url)
    receiver = await attach(one, "tea")
    await other.send(receiver.name, {"type": "hello"})
    await receiver.receive(1)
    assert "signalling-test" in {client["name"] for client in clients(redis)}


@pytest.mark.parametrize("processes", [2, 5])
async def test_processes_on_two_hosts_receive_once_and_in_order(
    make_layer: MakeLayer, redis: Redis, other_redis: Redis, processes: int
) -> None:
    layers = [make_layer(redis.url, other_redis.url) for _ in range(processes)]
    while len({host_of(layer) for layer in layers}) == 1:  # ids are random
        layers[-1] = make_layer(redis.url, other_redis.url)
    channels = [await attach(layer, "all") for layer in layers]

    async def send_all(number: int) -> None:
        for value in range(20):
            message = {"type": "number", "by": number, "value": value}
            if value % 3 == 0:
                await layers[number].group_send("all", message)
            else:
                await asyncio.gather(
                    *(layers[number].send(receiver.name, message) for receiver in channels)
                )

    await asyncio.gather(*(send_all(number) for number in range(processes)))
    for receiver in channels:
        received = await receiver.receive(20 * processes)
        for number in range(processes):
            values = [message["value"] for message in received if message["by"] == number]
            assert values == list(range(20))


async def test_named_queues_are_spread_over_two_hosts(
    make_layer: MakeLayer, redis: Redis, other_redis: Redis
) -> None:
    here, there = (make_layer(redis.url, other_redis.url) for _ in range(2))
    for number in range(10):
        await here.send(f"queue{number}", {"type": "number", "value": number})
    for number in range(10):
        message = await asyncio.wait_for(there.receive(f"queue{number}"), PATIENCE)
        assert message["value"] == number
    assert calls(other_redis, "rpush") > 0


# --- The end ----------------------------------------------------------------------------------


async def test_closing_a_layer_ends_its_tasks_and_connections(own_redis: Redis) -> None:
    before = asyncio.all_tasks()
    connections = len(clients(own_redis))
    layer = RedisChannelLayer(hosts=[own_redis.url], timeout=PATIENCE)
    attached = await attach(layer, "tea")
    await layer.group_send("tea", {"type": "one"})
    receiver = asyncio.ensure_future(layer.receive("thumbnails"))
    await asyncio.sleep(0.05)
    receiver.cancel()
    await asyncio.wait([receiver])
    layer.detach(attached.name)
    await asyncio.wait_for(layer.close(), PATIENCE)
    assert asyncio.all_tasks() == before
    eventually(lambda: len(clients(own_redis)) == connections)
    await layer.close()


async def test_closing_a_layer_raises_in_waiting_senders(own_redis: Redis) -> None:
    here, there = (RedisChannelLayer(hosts=[own_redis.url], timeout=PATIENCE) for _ in range(2))
    channel = await there.new_channel()
    sending = asyncio.ensure_future(here.send(channel, {"type": "one"}))
    await asyncio.sleep(0)
    await asyncio.wait_for(here.close(), PATIENCE)
    with pytest.raises(Undeliverable):
        await asyncio.wait_for(sending, PATIENCE)
    await there.close()


async def test_synchronous_senders_leave_no_connections(
    own_redis: Redis, make_layer: MakeLayer
) -> None:
    layer = make_layer(own_redis.url)
    receiver = await attach(layer, "tea")
    connections = len(clients(own_redis))

    def send() -> None:
        for value in range(20):
            async_to_sync(layer.group_send)("tea", {"type": "number", "value": value})

    await asyncio.wait_for(asyncio.to_thread(send), PATIENCE)
    received = await receiver.receive(20)
    assert [message["value"] for message in received] == list(range(20))
    gc.collect()
    assert len(layer._loop_layers) == 1
    # One more: the layer has published by now.
    eventually(lambda: len(clients(own_redis)) <= connections + 1)


async def test_detached_channels_leave_no_state(make_layer: MakeLayer) -> None:
    layer = make_layer()
    for number in range(2_000):
        receiver = await attach(layer, f"room.{number % 10}")
        layer.detach(receiver.name)
    local = layer._loop_layer().local
    assert (len(local.channels), len(local.groups)) == (0, 0)
