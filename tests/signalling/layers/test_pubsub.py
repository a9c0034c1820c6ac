"""What is between the processes: batches, and what is lost on the way."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from channels.exceptions import ChannelFull

from signalling.layers import RedisChannelLayer, Undeliverable, pubsub
from tests.integration.servers import Redis
from tests.signalling.layers.conftest import MakeLayer
from tests.signalling.layers.test_redis import ChannelSubscription, calls, ear

Message = dict[str, Any]


@pytest.fixture
def no_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is published but what a test publishes."""
    monkeypatch.setattr(pubsub, "BEAT_SECONDS", 3600)


@pytest.fixture
def fast_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "BEAT_SECONDS", 0.3)


def publishes(redis: Redis) -> int:
    return calls(redis, "publish")


# --- Batches ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_beats")
async def test_a_turn_of_the_loop_is_one_publish_for_each_target(
    own_redis: Redis, make_layer: MakeLayer
) -> None:
    here, *others = (make_layer(own_redis.url) for _ in range(4))
    ears = [await ear(layer, "all") for layer in others for _ in range(2)]
    before = publishes(own_redis)
    async with asyncio.timeout(10):
        await asyncio.gather(
            *(here.send(ears[number % 6].channel, {"type": "number"}) for number in range(300))
        )
    assert publishes(own_redis) - before == 3
    for listener in ears:
        await listener.receive(50)

    async with asyncio.timeout(10):
        await asyncio.gather(*(here.group_send("all", {"type": "number"}) for _ in range(100)))
    assert publishes(own_redis) - before == 4


@pytest.mark.usefixtures("no_beats")
async def test_messages_to_one_and_to_all_keep_their_order_in_one_turn(
    make_layer: MakeLayer,
) -> None:
    here, there, third = make_layer(), make_layer(), make_layer()
    ears = [await ear(there, "all"), await ear(third, "all")]
    sends: list[Awaitable[None]] = []
    for value in range(60):
        message = {"type": "number", "value": value}
        if value % 4 == 0:
            sends.append(here.group_send("all", message))
        else:
            sends += [here.send(listener.channel, message) for listener in ears]
    async with asyncio.timeout(10):
        await asyncio.gather(*sends)
    for listener in ears:
        heard = await listener.receive(60)
        assert [message["value"] for message in heard] == list(range(60))


async def test_what_may_wait_for_redis_is_bounded(own_redis: Redis, make_layer: MakeLayer) -> None:
    here = make_layer(own_redis.url, buffer_bytes=10_000, timeout=0.5)
    there = make_layer(own_redis.url)
    listener = await ear(there)
    own_redis.signals(signal.SIGSTOP)
    sends = [
        asyncio.ensure_future(here.send(listener.channel, {"type": "large", "text": "x" * 1000}))
        for _ in range(50)
    ]
    try:
        async with asyncio.timeout(10):
            results = await asyncio.gather(*sends, return_exceptions=True)
    finally:
        own_redis.signals(signal.SIGCONT)
    kinds = [type(result) for result in results]
    assert kinds.count(ChannelFull) == 41
    assert kinds.count(Undeliverable) == 9


# --- What is lost on the way ----------------------------------------------------------------------


class Talk:
    """One process sends to another without a pause; each message's fate is kept."""

    def __init__(
        self, here: RedisChannelLayer, speaker: ChannelSubscription, listener: ChannelSubscription
    ) -> None:
        self.here = here
        self.speaker = speaker
        self.listener = listener
        self.taken: set[int] = set()
        self.refused: set[int] = set()
        self.arrived_at: dict[int, float] = {}
        self.sent_at: dict[int, float] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._talking: asyncio.Task[None] | None = None
        hear = listener._hear

        def note(message: Message) -> None:
            if message["type"] == "number":
                self.arrived_at.setdefault(message["value"], time.monotonic())
            hear(message)

        listener.layer.attach(listener.channel, note)

    async def _send(self, value: int) -> None:
        message = {"type": "number", "value": value, "reply_channel": self.speaker.channel}
        self.sent_at[value] = time.monotonic()
        try:
            await self.here.send(self.listener.channel, message)
        except Undeliverable:
            self.refused.add(value)
        else:
            self.taken.add(value)

    async def _talk(self) -> None:
        value = 0
        while True:
            for _ in range(3):
                task = asyncio.ensure_future(self._send(value))
                self._sends.add(task)
                task.add_done_callback(self._sends.discard)
                value += 1
            await asyncio.sleep(0.002)

    def start(self) -> None:
        self._talking = asyncio.ensure_future(self._talk())

    async def stop(self) -> None:
        assert self._talking is not None
        self._talking.cancel()
        if self._sends:
            await asyncio.wait(self._sends, timeout=10)

    async def works_again(self, since: float) -> float:
        """Wait for a message that was sent and heard after ``since``; return when it came."""
        async with asyncio.timeout(10):
            while True:
                arrived = [
                    at for value, at in self.arrived_at.items() if self.sent_at[value] > since
                ]
                if arrived:
                    return min(arrived)
                await asyncio.sleep(0.01)

    @property
    def reported(self) -> int:
        return sum(message["type"] == "channel.lost" for message in self.speaker.heard)

    @property
    def silent(self) -> int:
        """Messages that were taken and neither arrived nor were reported."""
        return len(self.taken - set(self.arrived_at)) - self.reported

    async def is_accounted_for(self) -> None:
        """Each message was heard once, in order, or its sender was told."""
        for _ in range(600):  # until all is told, or for twelve seconds
            if self.silent <= 0:
                break
            await asyncio.sleep(0.02)
        assert self.silent == 0, f"{self.silent} of {len(self.sent_at)} were lost in silence"
        values = [entry["value"] for entry in self.listener.heard if entry["type"] == "number"]
        assert values == sorted(set(values))
        assert self.taken | self.refused == set(self.sent_at)


@pytest.fixture
async def talk(own_redis: Redis, make_layer: MakeLayer) -> AsyncIterator[Callable[[], Any]]:
    talks: list[Talk] = []

    async def begin() -> Talk:
        here, there = make_layer(own_redis.url, timeout=1.0), make_layer(own_redis.url, timeout=1.0)
        talk = Talk(here, await ear(here), await ear(there))
        talks.append(talk)
        talk.start()
        await talk.works_again(0)
        return talk

    yield begin
    for talk in talks:
        await talk.stop()


@pytest.mark.usefixtures("fast_beats")
async def test_no_message_is_lost_in_silence_when_subscribers_are_cut_off(
    own_redis: Redis, talk: Callable[[], Awaitable[Talk]]
) -> None:
    talking = await talk()
    for _ in range(5):
        own_redis.client.client_kill_filter(_type="pubsub")
        cut_at = time.monotonic()
        assert await talking.works_again(cut_at) - cut_at < 2
        await asyncio.sleep(0.1)
    await talking.stop()
    await talking.is_accounted_for()
    told = {message["type"] for message in talking.listener.heard}
    assert "channel.missed" in told
    assert talking.refused or talking.reported


@pytest.mark.usefixtures("fast_beats")
async def test_no_message_is_lost_in_silence_when_redis_is_killed(
    own_redis: Redis, talk: Callable[[], Awaitable[Talk]]
) -> None:
    talking = await talk()
    own_redis.signals(signal.SIGKILL)
    own_redis.ends()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own_redis.start)
    returned_at = time.monotonic()
    assert await talking.works_again(returned_at) - returned_at < 2
    await talking.stop()
    await talking.is_accounted_for()
    assert talking.refused


async def test_no_message_is_lost_in_silence_when_redis_stands_still(
    own_redis: Redis, talk: Callable[[], Awaitable[Talk]]
) -> None:
    talking = await talk()
    own_redis.signals(signal.SIGSTOP)
    await asyncio.sleep(7)
    own_redis.signals(signal.SIGCONT)
    returned_at = time.monotonic()
    assert await talking.works_again(returned_at) - returned_at < 2
    await talking.stop()
    await talking.is_accounted_for()
    assert talking.refused
    new = talking.here.new_channel()
    assert await asyncio.wait_for(new, 10)


@pytest.mark.usefixtures("fast_beats")
async def test_the_last_message_before_a_cut_is_reported_without_another_one(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beat that follows shows the gap."""
    here, there = make_layer(), make_layer()
    speaker, listener = await ear(here), await ear(there)
    shard = there._member().hub.own_shard
    read, dropped = shard._read, []

    def lossy(payload: bytes) -> None:
        if b"number" in payload:
            dropped.append(payload)
        else:
            read(payload)

    monkeypatch.setattr(shard, "_read", lossy)
    await here.send(listener.channel, {"type": "number", "reply_channel": speaker.channel})
    assert await speaker.receive(1) == [{"type": "channel.lost", "channel": listener.channel}]
    assert len(dropped) == 1
    assert await listener.receive(1) == [{"type": "channel.missed"}]


@pytest.mark.usefixtures("no_beats")
async def test_a_batch_that_was_overtaken_is_dropped(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make_layer(), make_layer()
    listener = await ear(there)
    payloads: asyncio.Queue[bytes] = asyncio.Queue()
    shard = there._member().hub.own_shard
    read = shard._read
    monkeypatch.setattr(shard, "_read", payloads.put_nowait)
    for value in range(2):
        await here.send(listener.channel, {"type": "number", "value": value})
    first, second = [await asyncio.wait_for(payloads.get(), 10) for _ in range(2)]
    for payload in (second, first, second):
        read(payload)
    assert [entry for entry in listener.heard if entry["type"] == "number"] == [
        {"type": "number", "value": 1}
    ]


async def test_a_receiver_that_fails_costs_nobody_else_a_message(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    broken, listener = await there.new_channel(), await ear(there)

    def fail(message: Message) -> None:
        raise RuntimeError("a bug")

    there.attach(broken, fail)
    async with asyncio.timeout(10):
        await asyncio.gather(
            here.send(broken, {"type": "one"}), here.send(listener.channel, {"type": "two"})
        )
    assert await listener.receive(1) == [{"type": "two"}]
