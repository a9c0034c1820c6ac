"""Channels, capacity and expiry: what every channel layer must do. See ``kinds``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.exceptions import ChannelFull

from tests.patience import PATIENCE
from tests.signalling.layers.kinds import Layers, number

# --- Channels ---------------------------------------------------------------------------------


async def test_a_sent_message_is_received(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "hello", "text": "world"})
    assert await layers.soon(layer.receive(channel)) == {"type": "hello", "text": "world"}


async def test_a_send_wakes_a_waiting_receiver(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0.01)
    await layer.send(channel, number(1))
    assert await layers.soon(waiting) == number(1)


async def test_a_channel_keeps_the_order(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    for value in range(50):
        await layer.send(channel, number(value))
    received = [await layers.soon(layer.receive(channel)) for _ in range(50)]
    assert received == [number(value) for value in range(50)]


async def test_channels_are_separate(layers: Layers, layer: Any) -> None:
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.send(first, number(1))
    await layer.send(second, number(2))
    assert await layers.soon(layer.receive(second)) == number(2)
    assert await layers.soon(layer.receive(first)) == number(1)
    assert await layers.empty(layer, first)
    assert await layers.empty(layer, second)


async def test_new_channels_are_unique(layer: Any) -> None:
    assert len({await layer.new_channel() for _ in range(100)}) == 100


async def test_new_channels_belong_to_this_process(layer: Any) -> None:
    name = await layer.new_channel()
    process, mark, rest = name.partition("!")
    assert process
    assert mark
    assert rest


async def test_a_new_channel_may_have_a_prefix(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel("special")
    assert channel.startswith("special")
    await layer.send(channel, number(1))
    assert await layers.soon(layer.receive(channel)) == number(1)


async def test_a_named_queue_keeps_messages_until_they_are_read(layers: Layers, layer: Any) -> None:
    await layer.send("thumbnails", number(1))
    assert await layers.soon(layer.receive("thumbnails")) == number(1)


async def test_receivers_of_a_named_queue_share_its_messages(layers: Layers, layer: Any) -> None:
    receivers = [asyncio.ensure_future(layer.receive("thumbnails")) for _ in range(5)]
    await asyncio.sleep(0.05)
    try:
        for value in range(5):
            await layer.send("thumbnails", number(value))
        received = await layers.soon(asyncio.gather(*receivers))
    finally:
        for receiver in receivers:
            receiver.cancel()
        await asyncio.wait(receivers)
    assert sorted(message["value"] for message in received) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_a_cancelled_receive_loses_no_message(layers: Layers, layer: Any, kind: str) -> None:
    """However the cancellation and the message race, the message is received once."""
    channel = await layer.new_channel() if kind == "new" else "thumbnails"
    received: list[dict[str, Any]] = []
    for value in range(20):
        receiver = asyncio.ensure_future(layer.receive(channel))
        for _ in range(value % 4):
            await asyncio.sleep(0)
        await layer.send(channel, number(value))
        for _ in range(value % 3):
            await asyncio.sleep(0)
        receiver.cancel()
        await asyncio.wait([receiver])
        if not receiver.cancelled():
            received.append(receiver.result())
    while len(received) < 20:
        received.append(await layers.soon(layer.receive(channel)))
    assert sorted(message["value"] for message in received) == list(range(20))
    assert await layers.empty(layer, channel)


async def test_an_invalid_channel_name_is_a_type_error(layer: Any) -> None:
    for name in ("", "a b", "a/b", "naïve", "a!b!c", "x" * 100, None, 7, b"bytes"):
        with pytest.raises(TypeError):
            await layer.send(name, number(1))
        with pytest.raises(TypeError):
            await asyncio.wait_for(layer.receive(name), PATIENCE)
        with pytest.raises(TypeError):
            await layer.group_add("group", name)
        with pytest.raises(TypeError):
            await layer.group_discard("group", name)


async def test_an_invalid_group_name_is_a_type_error(layer: Any) -> None:
    channel = await layer.new_channel()
    for name in ("", "a b", "a/b", "naïve", "a!b", "x" * 100, None, 7):
        with pytest.raises(TypeError):
            await layer.group_add(name, channel)
        with pytest.raises(TypeError):
            await layer.group_discard(name, channel)
        with pytest.raises(TypeError):
            await layer.group_send(name, number(1))


async def test_a_message_must_be_a_dict(layer: Any) -> None:
    channel = await layer.new_channel()
    with pytest.raises((TypeError, AssertionError)):
        await layer.send(channel, "hello")


async def test_messages_arrive_unchanged(layers: Layers, layer: Any) -> None:
    message = {
        "type": "everything",
        "text": "Žluťoučký 🐎 ‮\x00",
        "bytes": bytes(range(256)),
        "numbers": [0, -1, 2**40, 1.5, True, None],
        "nested": {"list": [[], [{"a": {"b": ["c"]}}]], "empty": {}},
        "large": "x" * 100_000,
    }
    channel = await layer.new_channel()
    await layer.send(channel, message)
    assert await layers.soon(layer.receive(channel)) == message


# --- Capacity and expiry ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_a_full_channel_refuses_messages(layers: Layers, kind: str) -> None:
    layer = layers.layer(capacity=3)
    channel = await layer.new_channel() if kind == "new" else "thumbnails"
    for value in range(3):
        await layer.send(channel, number(value))
    with pytest.raises(ChannelFull):
        await layer.send(channel, number(3))
    assert await layers.soon(layer.receive(channel)) == number(0)
    await layer.send(channel, number(4))
    received = [await layers.soon(layer.receive(channel)) for _ in range(3)]
    assert received == [number(1), number(2), number(4)]


async def test_channels_may_have_their_own_capacities(layers: Layers) -> None:
    layer = layers.layer(capacity=1, channel_capacity={"thumb*": 2})
    await layer.send("thumbnails", number(1))
    await layer.send("thumbnails", number(2))
    with pytest.raises(ChannelFull):
        await layer.send("thumbnails", number(3))
    await layer.send("letters", number(1))
    with pytest.raises(ChannelFull):
        await layer.send("letters", number(2))


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_a_message_expires(layers: Layers, kind: str) -> None:
    layer = layers.layer(expiry=1)
    channel = await layer.new_channel() if kind == "new" else "thumbnails"
    await layer.send(channel, number(1))
    await asyncio.sleep(1.1)
    assert await layers.empty(layer, channel)


async def test_expired_messages_do_not_count(layers: Layers) -> None:
    layer = layers.layer(expiry=1, capacity=1)
    await layer.send("thumbnails", number(1))
    await asyncio.sleep(1.1)
    await layer.send("thumbnails", number(2))
    assert await layers.soon(layer.receive("thumbnails")) == number(2)
