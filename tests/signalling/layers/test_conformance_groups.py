"""Groups, flush and use from other code: what every channel layer must do. See ``kinds``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator

from tests.patience import PATIENCE
from tests.signalling.layers.kinds import Layers, number

# --- Groups -----------------------------------------------------------------------------------


async def test_a_group_send_reaches_all_members_and_only_them(layers: Layers, layer: Any) -> None:
    members = [await layer.new_channel() for _ in range(3)]
    other = await layer.new_channel()
    for member in members:
        await layer.group_add("tea", member)
    await layer.group_add("coffee", other)
    await layer.group_send("tea", {"type": "kettle", "on": True})
    for member in members:
        assert await layers.soon(layer.receive(member)) == {"type": "kettle", "on": True}
        assert await layers.empty(layer, member)
    assert await layers.empty(layer, other)


async def test_joining_a_group_twice_has_no_effect(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    await layer.group_add("tea", channel)
    await layer.group_send("tea", number(1))
    assert await layers.soon(layer.receive(channel)) == number(1)
    assert await layers.empty(layer, channel)
    await layer.group_discard("tea", channel)
    await layer.group_send("tea", number(2))
    assert await layers.empty(layer, channel)


async def test_a_discarded_member_receives_nothing(layers: Layers, layer: Any) -> None:
    staying, leaving = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("tea", staying)
    await layer.group_add("tea", leaving)
    await layer.group_discard("tea", leaving)
    await layer.group_send("tea", number(1))
    assert await layers.soon(layer.receive(staying)) == number(1)
    assert await layers.empty(layer, leaving)


async def test_a_channel_outside_the_group_may_be_discarded(layers: Layers, layer: Any) -> None:
    member, other = await layer.new_channel(), await layer.new_channel()
    await layer.group_discard("tea", other)
    await layer.group_add("tea", member)
    await layer.group_discard("tea", other)
    await layer.group_send("tea", number(1))
    assert await layers.soon(layer.receive(member)) == number(1)


async def test_a_group_send_without_members_is_not_an_error(layer: Any) -> None:
    await layer.group_send("empty", number(1))
    channel = await layer.new_channel()
    await layer.group_add("empty", channel)
    await layer.group_discard("empty", channel)
    await layer.group_send("empty", number(1))


async def test_a_channel_may_be_in_several_groups(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    for group in ("tea", "coffee"):
        await layer.group_add(group, channel)
    await layer.group_send("tea", number(1))
    assert await layers.soon(layer.receive(channel)) == number(1)
    await layer.group_discard("tea", channel)
    await layer.group_send("coffee", number(2))
    assert await layers.soon(layer.receive(channel)) == number(2)


async def test_a_group_keeps_the_order(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    for value in range(30):
        await layer.group_send("tea", number(value))
    received = [await layers.soon(layer.receive(channel)) for _ in range(30)]
    assert received == [number(value) for value in range(30)]


# --- Flush ------------------------------------------------------------------------------------


async def test_a_flush_removes_messages_and_groups(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    await layer.send(channel, number(1))
    await layer.send("thumbnails", number(1))
    await layer.flush()
    await layer.group_send("tea", number(2))
    assert await layers.empty(layer, "thumbnails")
    assert await layers.empty(layer, channel)


# --- Use by other code ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_synchronous_code_may_send(layers: Layers, layer: Any, kind: str) -> None:
    """From a thread: each call runs its own event loop."""
    channel = await layer.new_channel() if kind == "new" else "thumbnails"

    def send() -> None:
        for value in range(3):
            async_to_sync(layer.send)(channel, number(value))

    await layers.soon(asyncio.to_thread(send))
    received = [await layers.soon(layer.receive(channel)) for _ in range(3)]
    assert received == [number(0), number(1), number(2)]


async def test_synchronous_code_may_send_to_groups(layers: Layers, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    await layers.soon(asyncio.to_thread(async_to_sync(layer.group_send), "tea", number(1)))
    assert await layers.soon(layer.receive(channel)) == number(1)


class Chat(AsyncJsonWebsocketConsumer):
    """The consumer of Channels' tutorial."""

    groups = ["chat"]  # noqa: RUF012

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if "to" in content:
            await self.channel_layer.send(content["to"], {"type": "chat.said", **content})
        else:
            await self.channel_layer.group_send("chat", {"type": "chat.said", **content})

    async def chat_said(self, event: Any) -> None:
        await self.send_json({"said": event["text"], "by": self.channel_name[:0]})


async def test_a_stock_consumer_may_use_it(layers: Layers, layer: Any) -> None:
    channel_layers.set("default", layer)
    sockets = [WebsocketCommunicator(Chat.as_asgi(), "/") for _ in range(2)]
    for socket in sockets:
        assert (await socket.connect(10))[0]
    for text in ("one", "two"):
        await sockets[0].send_json_to({"text": text})
    for socket in sockets:
        for text in ("one", "two"):
            assert await socket.receive_json_from(10) == {"said": text, "by": ""}
    await sockets[0].disconnect(timeout=PATIENCE)
    await sockets[1].send_json_to({"text": "alone"})
    assert (await sockets[1].receive_json_from(10))["said"] == "alone"
    await sockets[1].disconnect(timeout=PATIENCE)
