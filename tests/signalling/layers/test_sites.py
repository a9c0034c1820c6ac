"""Several sites on one Redis, a key that is being replaced, and attackers who can publish."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgpack
import pytest
from pytest_django import Settings
from redis import Redis as RedisClient

from signalling.layers import RedisChannelLayer, Undeliverable, drops
from tests.integration.stores import Redis
from tests.patience import PATIENCE
from tests.signalling.layers.channels import AttachedChannel, attach, calls
from tests.signalling.layers.conftest import MakeLayer

HELLO = {"type": "hello"}


@pytest.fixture
def make_layer(redis: Redis, settings: Settings, open_layer: MakeLayer) -> MakeLayer:
    """Return a function that makes the layer of a process of a site, from its settings."""

    def make_layer(*keys: str, database: int = 0, **options: Any) -> RedisChannelLayer:
        settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS = keys or ("one",)
        return open_layer(hosts=[f"{redis.url}?db={database}"], **options)

    return make_layer


@pytest.fixture
def dropped() -> Counter[str]:
    drops.bus.counts.clear()
    return drops.bus.counts


async def exchange(one: RedisChannelLayer, other: RedisChannelLayer) -> None:
    """Check that each layer reaches channels, groups and named queues of the other, once."""
    for here, there in ((one, other), (other, one)):
        receiver = await attach(there, "tea")
        await here.send(receiver.name, {**HELLO, "to": "channel"})
        await here.group_send("tea", {**HELLO, "to": "group"})
        await here.send(receiver.name, {**HELLO, "to": "last"})
        received = await receiver.receive(3)
        assert [message["to"] for message in received] == ["channel", "group", "last"]


async def check_isolation(site: RedisChannelLayer, other: RedisChannelLayer) -> AttachedChannel:
    """Check that nothing of one site arrives at another."""
    receiver = await attach(site, "tea")
    await attach(other, "tea")
    await other.group_send("tea", HELLO)
    with pytest.raises(Undeliverable):
        await other.send(receiver.name, HELLO)
    await other.send("thumbnails", HELLO)
    queue = asyncio.ensure_future(site.receive("thumbnails"))
    await other.receive("thumbnails")
    await site.group_send("tea", {"type": "own"})
    await site.send("thumbnails", {"type": "own"})
    assert await asyncio.wait_for(queue, PATIENCE) == {"type": "own"}
    assert await receiver.receive(1) == [{"type": "own"}]
    return receiver


async def test_sites_with_different_keys_do_not_hear_each_other(
    make_layer: MakeLayer, dropped: Counter[str]
) -> None:
    await check_isolation(make_layer("one"), make_layer("two"))
    assert not dropped


async def test_sites_with_different_database_numbers_do_not_hear_each_other(
    make_layer: MakeLayer, dropped: Counter[str]
) -> None:
    await check_isolation(make_layer(), make_layer(database=1))
    assert not dropped


async def test_sites_with_the_same_prefix_and_other_keys_drop_what_they_hear(
    make_layer: MakeLayer, dropped: Counter[str]
) -> None:
    site, other = make_layer("one", prefix="tea"), make_layer("two", prefix="tea")
    receiver = await attach(site, "tea")
    await other.group_send("tea", HELLO)
    await other.send(receiver.name, HELLO)
    await other.send("thumbnails", HELLO)
    await site.send("thumbnails", {"type": "own"})
    assert await asyncio.wait_for(site.receive("thumbnails"), PATIENCE) == {"type": "own"}
    await site.send(receiver.name, {"type": "own"})
    assert await receiver.receive(1) == [{"type": "own"}]
    assert dropped["signature"] >= 3


async def test_unsigned_layers_reach_each_other(make_layer: MakeLayer) -> None:
    await exchange(make_layer(signing_keys=[]), make_layer(signing_keys=[]))


@pytest.mark.parametrize("options", [{}, {"prefix": "tea"}], ids=["default", "prefix"])
async def test_the_secret_key_is_replaced_while_processes_run(
    make_layer: MakeLayer, dropped: Counter[str], options: dict[str, Any]
) -> None:
    old, new = make_layer("one", **options), make_layer("two", **options)
    between = [make_layer("two", "one", **options) for _ in range(2)]
    for one, other in ((old, between[0]), (between[0], new), (between[0], between[1])):
        await exchange(one, other)
    if not options:
        assert not dropped


async def test_named_queues_are_read_under_both_keys(make_layer: MakeLayer) -> None:
    old, between, new = make_layer("one"), make_layer("two", "one"), make_layer("two")
    for sender, receiver in ((old, between), (between, new), (new, between)):
        await sender.send("thumbnails", HELLO)
        assert await asyncio.wait_for(receiver.receive("thumbnails"), PATIENCE) == HELLO


# --- An attacker who can publish --------------------------------------------------------------


async def test_garbage_neither_interrupts_the_subscription_nor_other_messages(
    redis: Redis, make_layer: MakeLayer, dropped: Counter[str]
) -> None:
    here, there = make_layer(), make_layer()
    receiver = await attach(there, "tea")
    bus = there._loop_layer().bus
    subscriptions = calls(redis, "subscribe")
    addresses = [there.namespaces[0].channel(target) for target in ("all", bus.id)]
    for address in addresses:
        for payload in (b"", b"garbage", b"\x01", b"\x01\xff", msgpack.packb(["x", True, -1])):
            redis.client.publish(address, payload)
    await here.send(receiver.name, HELLO)
    assert await receiver.receive(1) == [HELLO]
    assert dropped.total() >= 10
    assert calls(redis, "subscribe") == subscriptions
    assert bus.subscriber.ready.is_set()


async def test_a_captured_payload_is_of_no_use(
    redis: Redis, make_layer: MakeLayer, dropped: Counter[str]
) -> None:
    here, there, third = make_layer(), make_layer(), make_layer()
    receiver = await attach(there)
    await attach(third)
    address = there.namespaces[0].channel(there._loop_layer().bus.id)
    client: Any = RedisClient.from_url(redis.url)
    with client, client.pubsub() as eavesdropper:
        eavesdropper.subscribe(address)
        eavesdropper.get_message(timeout=PATIENCE)
        await here.send(receiver.name, HELLO)
        captured = eavesdropper.get_message(timeout=PATIENCE)
    replays = [
        there.namespaces[0].channel(target) for target in ("all", third._loop_layer().bus.id)
    ]
    for replay in (address, *replays):
        redis.client.publish(replay, captured["data"])
    await here.send(receiver.name, {"type": "last"})
    assert await receiver.receive(2) == [HELLO, {"type": "last"}]
    assert dropped["number"] == 1
    assert dropped["signature"] >= 2


@pytest.mark.parametrize("garbage", [b"garbage", b"\x01\x00\x93", b""])
async def test_garbage_in_a_named_queue_costs_neither_sender_nor_receiver(
    redis: Redis, make_layer: MakeLayer, dropped: Counter[str], garbage: bytes
) -> None:
    layer = make_layer(capacity=2)
    key = layer.namespaces[0].queue("thumbnails")
    redis.client.rpush(key, garbage, garbage)
    await layer.send("thumbnails", HELLO)
    assert await asyncio.wait_for(layer.receive("thumbnails"), PATIENCE) == HELLO
    assert dropped.total() >= 2
