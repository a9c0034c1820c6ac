"""The message bus between processes: batches, and messages lost on the way."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from channels.exceptions import ChannelFull

from signalling.layers import RedisChannelLayer, Undeliverable, publisher
from tests.contention import Clock
from tests.integration.stores import Redis
from tests.patience import PATIENCE
from tests.signalling.layers.channels import AttachedChannel, Message, attach, calls
from tests.signalling.layers.conftest import MakeLayer


@pytest.fixture
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish only what the test publishes."""
    monkeypatch.setattr(publisher, "HEARTBEAT_SECONDS", 3600)


@pytest.fixture
def fast_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "HEARTBEAT_SECONDS", 0.3)


def publishes(redis: Redis) -> int:
    return calls(redis, "publish")


# --- Batches ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_heartbeats")
async def test_a_loop_turn_publishes_once_for_each_target(
    own_redis: Redis, make_layer: MakeLayer
) -> None:
    here, *others = (make_layer(own_redis.url) for _ in range(4))
    channels = [await attach(layer, "all") for layer in others for _ in range(2)]
    before = publishes(own_redis)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            *(here.send(channels[number % 6].name, {"type": "number"}) for number in range(300))
        )
    assert publishes(own_redis) - before == 3
    for receiver in channels:
        await receiver.receive(50)

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(here.group_send("all", {"type": "number"}) for _ in range(100)))
    assert publishes(own_redis) - before == 4


@pytest.mark.usefixtures("no_heartbeats")
async def test_messages_to_one_and_to_all_keep_their_order_within_a_turn(
    make_layer: MakeLayer,
) -> None:
    here, there, third = make_layer(), make_layer(), make_layer()
    channels = [await attach(there, "all"), await attach(third, "all")]
    sends: list[Awaitable[None]] = []
    for value in range(60):
        message = {"type": "number", "value": value}
        if value % 4 == 0:
            sends.append(here.group_send("all", message))
        else:
            sends += [here.send(receiver.name, message) for receiver in channels]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*sends)
    for receiver in channels:
        received = await receiver.receive(60)
        assert [message["value"] for message in received] == list(range(60))


async def test_the_bytes_that_wait_for_redis_are_bounded(
    own_redis: Redis, make_layer: MakeLayer
) -> None:
    here = make_layer(own_redis.url, buffer_bytes=10_000, timeout=0.5)
    there = make_layer(own_redis.url)
    receiver = await attach(there)
    own_redis.send_signal(signal.SIGSTOP)
    sends = [
        asyncio.ensure_future(here.send(receiver.name, {"type": "large", "text": "x" * 1000}))
        for _ in range(50)
    ]
    try:
        async with asyncio.timeout(PATIENCE):
            results = await asyncio.gather(*sends, return_exceptions=True)
    finally:
        own_redis.send_signal(signal.SIGCONT)
    kinds = [type(result) for result in results]
    assert kinds.count(ChannelFull) == 41
    assert kinds.count(Undeliverable) == 9


# --- Messages lost on the way -----------------------------------------------------------------


class Traffic:
    """Continuous messages from one process to another; records the outcome of each."""

    def __init__(
        self, here: RedisChannelLayer, sender: AttachedChannel, receiver: AttachedChannel
    ) -> None:
        self.here = here
        self.sender = sender
        self.receiver = receiver
        self.accepted: set[int] = set()
        self.refused: set[int] = set()
        self.arrived_at: dict[int, float] = {}
        self.sent_at: dict[int, float] = {}
        self._sends: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None
        add = receiver.add

        def note(message: Message) -> None:
            if message["type"] == "number":
                self.arrived_at.setdefault(message["value"], time.monotonic())
            add(message)

        receiver.layer.attach(receiver.name, note)

    async def _send(self, value: int) -> None:
        message = {"type": "number", "value": value, "reply_channel": self.sender.name}
        self.sent_at[value] = time.monotonic()
        try:
            await self.here.send(self.receiver.name, message)
        except Undeliverable:
            self.refused.add(value)
        else:
            self.accepted.add(value)

    async def _keep_sending(self) -> None:
        value = 0
        while True:
            for _ in range(3):
                task = asyncio.ensure_future(self._send(value))
                self._sends.add(task)
                task.add_done_callback(self._sends.discard)
                value += 1
            await asyncio.sleep(0.002)

    def start(self) -> None:
        self._sending = asyncio.ensure_future(self._keep_sending())

    async def stop(self) -> None:
        assert self._sending is not None
        self._sending.cancel()
        if self._sends:
            await asyncio.wait(self._sends, timeout=PATIENCE)

    async def resumed(self, since: float) -> float:
        """Wait for a message sent and received after ``since``; return when it arrived."""
        async with asyncio.timeout(PATIENCE):
            while True:
                arrived = [
                    at for value, at in self.arrived_at.items() if self.sent_at[value] > since
                ]
                if arrived:
                    return min(arrived)
                await asyncio.sleep(0.01)

    async def resumes_within(self, seconds: float, redis: Redis) -> None:
        """Fail if no message arrives for longer. The load of the machine does not count."""
        clock = Clock(redis.pid)
        begun = clock.now()
        await self.resumed(time.monotonic())
        assert clock.since(begun) < seconds

    @property
    def reported(self) -> int:
        return sum(message["type"] == "channel.lost" for message in self.sender.received)

    @property
    def lost_silently(self) -> int:
        """The number of messages that were accepted, but neither arrived nor were reported."""
        return len(self.accepted - set(self.arrived_at)) - self.reported

    async def check_outcomes(self) -> None:
        """Assert that each message was received once and in order, or reported to its sender."""
        for _ in range(600):  # until all losses are reported, for at most 12 seconds
            if self.lost_silently <= 0:
                break
            await asyncio.sleep(0.02)
        assert self.lost_silently == 0, (
            f"{self.lost_silently} of {len(self.sent_at)} were lost silently"
        )
        values = [entry["value"] for entry in self.receiver.received if entry["type"] == "number"]
        assert values == sorted(set(values))
        assert self.accepted | self.refused == set(self.sent_at)


@pytest.fixture
async def start_traffic(
    own_redis: Redis, make_layer: MakeLayer
) -> AsyncIterator[Callable[[], Any]]:
    started: list[Traffic] = []

    async def start() -> Traffic:
        here, there = make_layer(own_redis.url, timeout=1.0), make_layer(own_redis.url, timeout=1.0)
        traffic = Traffic(here, await attach(here), await attach(there))
        started.append(traffic)
        traffic.start()
        await traffic.resumed(0)
        return traffic

    yield start
    for traffic in started:
        await traffic.stop()


@pytest.mark.usefixtures("fast_heartbeats")
async def test_no_message_is_lost_silently_when_subscribers_are_disconnected(
    own_redis: Redis, start_traffic: Callable[[], Awaitable[Traffic]]
) -> None:
    traffic = await start_traffic()
    for _ in range(5):
        own_redis.client.client_kill_filter(_type="pubsub")
        await traffic.resumes_within(2, own_redis)
        await asyncio.sleep(0.1)
    await traffic.stop()
    await traffic.check_outcomes()
    types = {message["type"] for message in traffic.receiver.received}
    assert "channel.missed" in types
    assert traffic.refused or traffic.reported


@pytest.mark.usefixtures("fast_heartbeats")
async def test_no_message_is_lost_silently_when_redis_is_killed(
    own_redis: Redis, start_traffic: Callable[[], Awaitable[Traffic]]
) -> None:
    traffic = await start_traffic()
    own_redis.send_signal(signal.SIGKILL)
    own_redis.wait()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(own_redis.start)
    await traffic.resumes_within(2, own_redis)
    await traffic.stop()
    await traffic.check_outcomes()
    assert traffic.refused


async def test_no_message_is_lost_silently_when_redis_hangs(
    own_redis: Redis, start_traffic: Callable[[], Awaitable[Traffic]]
) -> None:
    traffic = await start_traffic()
    own_redis.send_signal(signal.SIGSTOP)
    await asyncio.sleep(7)
    own_redis.send_signal(signal.SIGCONT)
    await traffic.resumes_within(2, own_redis)
    await traffic.stop()
    await traffic.check_outcomes()
    assert traffic.refused
    new = traffic.here.new_channel()
    assert await asyncio.wait_for(new, PATIENCE)


@pytest.mark.usefixtures("fast_heartbeats")
async def test_the_last_message_before_a_loss_is_reported_without_another_message(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat that follows reveals the gap."""
    here, there = make_layer(), make_layer()
    sender, receiver = await attach(here), await attach(there)
    subscriber = there._loop_layer().bus.subscriber
    receive, dropped = subscriber.receive, []

    def lossy(address: bytes, payload: bytes) -> None:
        if b"number" in payload:
            dropped.append(payload)
        else:
            receive(address, payload)

    monkeypatch.setattr(subscriber, "receive", lossy)
    await here.send(receiver.name, {"type": "number", "reply_channel": sender.name})
    assert await sender.receive(1) == [{"type": "channel.lost", "channel": receiver.name}]
    assert len(dropped) == 1
    assert await receiver.receive(1) == [{"type": "channel.missed"}]


@pytest.mark.usefixtures("no_heartbeats")
async def test_a_batch_that_arrives_late_is_dropped(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make_layer(), make_layer()
    receiver = await attach(there)
    payloads: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
    subscriber = there._loop_layer().bus.subscriber
    receive = subscriber.receive
    monkeypatch.setattr(subscriber, "receive", lambda *payload: payloads.put_nowait(payload))
    for value in range(2):
        await here.send(receiver.name, {"type": "number", "value": value})
    first, second = [await asyncio.wait_for(payloads.get(), PATIENCE) for _ in range(2)]
    for payload in (second, first, second):
        receive(*payload)
    assert [entry for entry in receiver.received if entry["type"] == "number"] == [
        {"type": "number", "value": 1}
    ]


async def test_a_failing_receiver_costs_no_other_channel_a_message(make_layer: MakeLayer) -> None:
    here, there = make_layer(), make_layer()
    broken, receiver = await there.new_channel(), await attach(there)

    def fail(message: Message) -> None:
        raise RuntimeError("a bug")

    there.attach(broken, fail)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            here.send(broken, {"type": "one"}), here.send(receiver.name, {"type": "two"})
        )
    assert await receiver.receive(1) == [{"type": "two"}]


async def test_no_message_is_lost_silently_when_its_process_ends(make_layer: MakeLayer) -> None:
    """Each message to a channel that has gone is refused where it is sent, or reported there."""
    here, there = make_layer(), make_layer()
    sender, receiver = await attach(here), await attach(there)
    there.detach(receiver.name)
    message = {"type": "number", "reply_channel": sender.name}
    refused = 0
    half_sent = asyncio.Event()

    async def send() -> None:
        nonlocal refused
        for number in range(100):
            if number == 50:
                half_sent.set()
            try:
                await here.send(receiver.name, message)
            except Undeliverable:
                refused += 1

    async def end() -> None:
        await half_sent.wait()
        await there.finish()
        await there.close()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(send() for _ in range(5)), end())
        assert 0 < refused < 500
        lost = await sender.receive(500 - refused)
    assert lost == [{"type": "channel.lost", "channel": receiver.name}] * (500 - refused)
    with pytest.raises(Undeliverable):
        await here.send(receiver.name, message)
