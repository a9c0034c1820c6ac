"""What every channel layer must do, ours and the stock ones, in our own words.

Where a layer does something else, ``DIFFERENCES`` says so: those tests must fail (``xfail``, strict),
so the table cannot become wrong without a test that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.testing import WebsocketCommunicator
from channels_redis.core import RedisChannelLayer as StockRedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from signalling.layers import LocalChannelLayer, RedisChannelLayer
from tests.integration.servers import Redis

T = TypeVar("T")
Make = Callable[..., Any]

NO_CAPACITY = "keeps what it is sent in queues without a bound"
NO_EXPIRY = "messages that were sent do not expire"
NO_NAMES = "does not look at names"
NO_QUEUES = "keeps nothing for a named queue that nobody reads yet"

DIFFERENCES: dict[str, dict[str, str]] = {
    "local": {},
    "redis": {},
    "stock in-memory": {
        "test_channels_may_have_capacities_of_their_own": "cannot: it does not compile them",
        "test_what_has_expired_needs_no_room": "looks for what has expired at the next receive",
    },
    "stock redis": {},
    "stock pub/sub": {
        "test_a_flush_forgets_messages_and_groups": NO_QUEUES,
        "test_a_full_channel_refuses_more": NO_CAPACITY,
        "test_a_message_expires": NO_EXPIRY,
        "test_a_message_is_a_dict": "sends whatever can be serialised",
        "test_a_named_queue_needs_no_reader_yet": NO_QUEUES,
        "test_a_new_channel_may_be_given_a_prefix": "puts its own prefix first",
        "test_a_receive_that_is_cancelled_loses_nothing": "forgets the channel, and what waits in it",
        "test_channels_may_have_capacities_of_their_own": NO_CAPACITY,
        "test_invalid_names_of_channels_are_type_errors": NO_NAMES,
        "test_invalid_names_of_groups_are_type_errors": NO_NAMES,
        "test_new_channels_are_of_this_process": "marks no process in a name",
        "test_synchronous_code_may_send[named]": NO_QUEUES,
        "test_what_has_expired_needs_no_room": NO_EXPIRY,
    },
}
"""Tests that a layer does not pass, and why; ``test[id]`` means one parameter of it."""
MAKERS: dict[str, Make] = {
    "local": lambda redis, prefix, **options: LocalChannelLayer(prefix=prefix, **options),
    "redis": lambda redis, prefix, **options: RedisChannelLayer(
        hosts=[redis.url], prefix=prefix, **options
    ),
    "stock in-memory": lambda redis, prefix, **options: InMemoryChannelLayer(**options),
    "stock redis": lambda redis, prefix, **options: StockRedisChannelLayer(
        hosts=[redis.url], prefix=prefix, **options
    ),
    "stock pub/sub": lambda redis, prefix, **options: RedisPubSubChannelLayer(
        hosts=[redis.url], prefix=prefix, **options
    ),
}


class Bench:
    """A kind of layer under test."""

    def __init__(self, make: Make, patience: float) -> None:
        self._make = make
        self._patience = patience
        self._made: list[Any] = []

    def layer(self, **options: Any) -> Any:
        layer = self._make(**options)
        self._made.append(layer)
        return layer

    async def soon(self, work: Awaitable[T]) -> T:
        """Wait for what must come."""
        return await asyncio.wait_for(work, self._patience)

    async def empty(self, layer: Any, channel: str) -> bool:
        """Tell whether nothing else waits in a channel: what is sent now is what comes next."""
        await self.soon(layer.send(channel, {"type": "last"}))
        return bool(await self.soon(layer.receive(channel)) == {"type": "last"})

    async def close(self) -> None:
        for layer in self._made:
            if isinstance(layer, StockRedisChannelLayer):
                await layer.close_pools()
            elif isinstance(layer, RedisPubSubChannelLayer):
                await layer.flush()
            elif isinstance(layer, RedisChannelLayer):
                await layer.close()


@pytest.fixture(params=MAKERS)
async def bench(request: pytest.FixtureRequest, redis: Redis, prefix: str) -> AsyncIterator[Bench]:
    kind: str = request.param
    known = DIFFERENCES[kind]
    name = request.node.originalname
    case = request.node.callspec.id.removeprefix(kind).strip("-")
    difference = known.get(name) or known.get(f"{name}[{case}]")
    if difference is not None:
        request.applymarker(pytest.mark.xfail(strict=True, reason=f"{kind}: {difference}"))
    bench = Bench(
        lambda **options: MAKERS[kind](redis, prefix, **options), 10 if difference is None else 0.3
    )
    yield bench
    await asyncio.wait_for(bench.close(), 10)


@pytest.fixture
def layer(bench: Bench) -> Any:
    return bench.layer()


def number(value: int) -> dict[str, Any]:
    return {"type": "number", "value": value}


# --- Channels ---------------------------------------------------------------------------------


async def test_what_is_sent_to_a_channel_is_received_from_it(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "hello", "text": "world"})
    assert await bench.soon(layer.receive(channel)) == {"type": "hello", "text": "world"}


async def test_who_waits_already_is_woken(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0.01)
    await layer.send(channel, number(1))
    assert await bench.soon(waiting) == number(1)


async def test_a_channel_keeps_its_order(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    for value in range(50):
        await layer.send(channel, number(value))
    heard = [await bench.soon(layer.receive(channel)) for _ in range(50)]
    assert heard == [number(value) for value in range(50)]


async def test_a_channel_hears_nothing_of_another(bench: Bench, layer: Any) -> None:
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.send(first, number(1))
    await layer.send(second, number(2))
    assert await bench.soon(layer.receive(second)) == number(2)
    assert await bench.soon(layer.receive(first)) == number(1)
    assert await bench.empty(layer, first)
    assert await bench.empty(layer, second)


async def test_new_channels_are_unique(layer: Any) -> None:
    assert len({await layer.new_channel() for _ in range(100)}) == 100


async def test_new_channels_are_of_this_process(layer: Any) -> None:
    name = await layer.new_channel()
    process, mark, rest = name.partition("!")
    assert process
    assert mark
    assert rest


async def test_a_new_channel_may_be_given_a_prefix(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel("special")
    assert channel.startswith("special")
    await layer.send(channel, number(1))
    assert await bench.soon(layer.receive(channel)) == number(1)


async def test_a_named_queue_needs_no_reader_yet(bench: Bench, layer: Any) -> None:
    await layer.send("thumbnails", number(1))
    assert await bench.soon(layer.receive("thumbnails")) == number(1)


async def test_receivers_of_one_named_queue_share_its_messages(bench: Bench, layer: Any) -> None:
    receivers = [asyncio.ensure_future(layer.receive("thumbnails")) for _ in range(5)]
    await asyncio.sleep(0.05)
    try:
        for value in range(5):
            await layer.send("thumbnails", number(value))
        heard = await bench.soon(asyncio.gather(*receivers))
    finally:
        for receiver in receivers:
            receiver.cancel()
        await asyncio.wait(receivers)
    assert sorted(message["value"] for message in heard) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_a_receive_that_is_cancelled_loses_nothing(
    bench: Bench, layer: Any, kind: str
) -> None:
    """However the cancellation and the message race, the message is received once."""
    channel = await layer.new_channel() if kind == "new" else "thumbnails"
    heard: list[dict[str, Any]] = []
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
            heard.append(receiver.result())
    while len(heard) < 20:
        heard.append(await bench.soon(layer.receive(channel)))
    assert sorted(message["value"] for message in heard) == list(range(20))
    assert await bench.empty(layer, channel)


async def test_invalid_names_of_channels_are_type_errors(layer: Any) -> None:
    for name in ("", "a b", "a/b", "naïve", "a!b!c", "x" * 100, None, 7, b"bytes"):
        with pytest.raises(TypeError):
            await layer.send(name, number(1))
        with pytest.raises(TypeError):
            await asyncio.wait_for(layer.receive(name), 1)
        with pytest.raises(TypeError):
            await layer.group_add("group", name)
        with pytest.raises(TypeError):
            await layer.group_discard("group", name)


async def test_invalid_names_of_groups_are_type_errors(layer: Any) -> None:
    channel = await layer.new_channel()
    for name in ("", "a b", "a/b", "naïve", "a!b", "x" * 100, None, 7):
        with pytest.raises(TypeError):
            await layer.group_add(name, channel)
        with pytest.raises(TypeError):
            await layer.group_discard(name, channel)
        with pytest.raises(TypeError):
            await layer.group_send(name, number(1))


async def test_a_message_is_a_dict(layer: Any) -> None:
    channel = await layer.new_channel()
    with pytest.raises((TypeError, AssertionError)):
        await layer.send(channel, "hello")


async def test_messages_survive_as_they_are(bench: Bench, layer: Any) -> None:
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
    assert await bench.soon(layer.receive(channel)) == message


# --- Capacity and expiry ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_a_full_channel_refuses_more(bench: Bench, kind: str) -> None:
    layer = bench.layer(capacity=3)
    channel = await layer.new_channel() if kind == "new" else "thumbnails"
    for value in range(3):
        await layer.send(channel, number(value))
    with pytest.raises(ChannelFull):
        await layer.send(channel, number(3))
    assert await bench.soon(layer.receive(channel)) == number(0)
    await layer.send(channel, number(4))
    heard = [await bench.soon(layer.receive(channel)) for _ in range(3)]
    assert heard == [number(1), number(2), number(4)]


async def test_channels_may_have_capacities_of_their_own(bench: Bench) -> None:
    layer = bench.layer(capacity=1, channel_capacity={"thumb*": 2})
    await layer.send("thumbnails", number(1))
    await layer.send("thumbnails", number(2))
    with pytest.raises(ChannelFull):
        await layer.send("thumbnails", number(3))
    await layer.send("letters", number(1))
    with pytest.raises(ChannelFull):
        await layer.send("letters", number(2))


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_a_message_expires(bench: Bench, kind: str) -> None:
    layer = bench.layer(expiry=1)
    channel = await layer.new_channel() if kind == "new" else "thumbnails"
    await layer.send(channel, number(1))
    await asyncio.sleep(1.1)
    assert await bench.empty(layer, channel)


async def test_what_has_expired_needs_no_room(bench: Bench) -> None:
    layer = bench.layer(expiry=1, capacity=1)
    await layer.send("thumbnails", number(1))
    await asyncio.sleep(1.1)
    await layer.send("thumbnails", number(2))
    assert await bench.soon(layer.receive("thumbnails")) == number(2)


# --- Groups -------------------------------------------------------------------------------------


async def test_a_group_send_reaches_each_member_and_nobody_else(bench: Bench, layer: Any) -> None:
    members = [await layer.new_channel() for _ in range(3)]
    stranger = await layer.new_channel()
    for member in members:
        await layer.group_add("tea", member)
    await layer.group_add("coffee", stranger)
    await layer.group_send("tea", {"type": "kettle", "on": True})
    for member in members:
        assert await bench.soon(layer.receive(member)) == {"type": "kettle", "on": True}
        assert await bench.empty(layer, member)
    assert await bench.empty(layer, stranger)


async def test_a_member_is_a_member_once(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    await layer.group_add("tea", channel)
    await layer.group_send("tea", number(1))
    assert await bench.soon(layer.receive(channel)) == number(1)
    assert await bench.empty(layer, channel)
    await layer.group_discard("tea", channel)
    await layer.group_send("tea", number(2))
    assert await bench.empty(layer, channel)


async def test_who_was_discarded_hears_nothing_more(bench: Bench, layer: Any) -> None:
    staying, leaving = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("tea", staying)
    await layer.group_add("tea", leaving)
    await layer.group_discard("tea", leaving)
    await layer.group_send("tea", number(1))
    assert await bench.soon(layer.receive(staying)) == number(1)
    assert await bench.empty(layer, leaving)


async def test_a_stranger_may_be_discarded(bench: Bench, layer: Any) -> None:
    member, stranger = await layer.new_channel(), await layer.new_channel()
    await layer.group_discard("tea", stranger)
    await layer.group_add("tea", member)
    await layer.group_discard("tea", stranger)
    await layer.group_send("tea", number(1))
    assert await bench.soon(layer.receive(member)) == number(1)


async def test_a_group_send_to_nobody_is_no_error(layer: Any) -> None:
    await layer.group_send("nobody", number(1))
    channel = await layer.new_channel()
    await layer.group_add("nobody", channel)
    await layer.group_discard("nobody", channel)
    await layer.group_send("nobody", number(1))


async def test_a_channel_may_be_in_several_groups(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    for group in ("tea", "coffee"):
        await layer.group_add(group, channel)
    await layer.group_send("tea", number(1))
    assert await bench.soon(layer.receive(channel)) == number(1)
    await layer.group_discard("tea", channel)
    await layer.group_send("coffee", number(2))
    assert await bench.soon(layer.receive(channel)) == number(2)


async def test_a_group_keeps_its_order(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    for value in range(30):
        await layer.group_send("tea", number(value))
    heard = [await bench.soon(layer.receive(channel)) for _ in range(30)]
    assert heard == [number(value) for value in range(30)]


# --- Flush ----------------------------------------------------------------------------------------


async def test_a_flush_forgets_messages_and_groups(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    await layer.send(channel, number(1))
    await layer.send("thumbnails", number(1))
    await layer.flush()
    await layer.group_send("tea", number(2))
    assert await bench.empty(layer, "thumbnails")
    assert await bench.empty(layer, channel)


# --- As it is used ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["new", "named"])
async def test_synchronous_code_may_send(bench: Bench, layer: Any, kind: str) -> None:
    """From a thread, which has an event loop of its own for each call."""
    channel = await layer.new_channel() if kind == "new" else "thumbnails"

    def send() -> None:
        for value in range(3):
            async_to_sync(layer.send)(channel, number(value))

    await bench.soon(asyncio.to_thread(send))
    heard = [await bench.soon(layer.receive(channel)) for _ in range(3)]
    assert heard == [number(0), number(1), number(2)]


async def test_synchronous_code_may_send_to_groups(bench: Bench, layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("tea", channel)
    await bench.soon(asyncio.to_thread(async_to_sync(layer.group_send), "tea", number(1)))
    assert await bench.soon(layer.receive(channel)) == number(1)


class Chat(AsyncJsonWebsocketConsumer):
    """A consumer as Channels' tutorial has it."""

    groups = ["chat"]  # noqa: RUF012

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if "to" in content:
            await self.channel_layer.send(content["to"], {"type": "chat.said", **content})
        else:
            await self.channel_layer.group_send("chat", {"type": "chat.said", **content})

    async def chat_said(self, event: Any) -> None:
        await self.send_json({"said": event["text"], "by": self.channel_name[:0]})


async def test_a_stock_consumer_may_use_it(bench: Bench, layer: Any) -> None:
    channel_layers.set("default", layer)
    sockets = [WebsocketCommunicator(Chat.as_asgi(), "/") for _ in range(2)]
    for socket in sockets:
        assert (await socket.connect(10))[0]
    for text in ("one", "two"):
        await sockets[0].send_json_to({"text": text})
    for socket in sockets:
        for text in ("one", "two"):
            assert await socket.receive_json_from(10) == {"said": text, "by": ""}
    await sockets[0].disconnect(timeout=10)
    await sockets[1].send_json_to({"text": "alone"})
    assert (await sockets[1].receive_json_from(10))["said"] == "alone"
    await sockets[1].disconnect(timeout=10)
