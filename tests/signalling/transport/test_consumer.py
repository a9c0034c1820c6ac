"""The guarantees in the documentation of ``transport.consumer``, with our layer and a stock one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.contrib.auth.models import User
from django.db import connection

from signalling.layers import ChannelGone, LocalChannelLayer
from signalling.transport.consumer import BoundedConsumer
from signalling.transport.send_queue import Event, Overflow
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db  # Channels' disconnect closes old connections


class Consumer(BoundedConsumer):
    """Records its calls. The call ``blocks_at`` waits for ``unblock``."""

    outbound_frames = 3

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.unblock = asyncio.Event()
        self.unblock.set()
        self.blocks_at = ""
        self.is_blocked = asyncio.Event()

    async def record(self, call: str) -> None:
        self.calls.append(call)
        if call == self.blocks_at:
            self.is_blocked.set()
            await self.unblock.wait()

    async def connect(self) -> None:
        await self.accept()
        await self.record("connect")

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        assert text_data is not None
        await self.record(text_data)
        if text_data == "explode":
            raise RuntimeError("a bug")
        if text_data == "query":
            await database_sync_to_async(User.objects.count)()
        if text_data == "echo":
            await self.send(text_data)
        await asyncio.sleep(0)
        self.calls.append(f"{text_data} done")

    async def disconnect(self, code: int) -> None:
        await self.record(f"disconnect {code}")

    def deliver(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "bug":
                raise RuntimeError("a bug")
            case "overflow":
                raise Overflow
            case "frame":
                self.send_queue.put({"type": "websocket.send", "text": message["text"]})
        self.calls.append(f"message {message.get('value', message['type'])}")

    def delivery_failed(self, message_type: str) -> None:
        super().delivery_failed(message_type)
        self.calls.append(f"failed {message_type}")

    def overflowed(self) -> None:
        self.calls.append("overflowed")

    async def clean_up(self) -> None:
        await self.record("clean_up")
        await asyncio.sleep(0)
        self.calls.append("cleaned up")


class Run:
    """One consumer and its ASGI server."""

    def __init__(self) -> None:
        self.consumer = Consumer()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.sent: list[Event] = []
        self.reads = 0
        self.can_send = asyncio.Event()
        self.can_send.set()
        scope = {"type": "websocket", "path": "/"}
        self.task = asyncio.ensure_future(self.consumer(scope, self._receive, self._send))

    async def _receive(self) -> Event:
        self.reads += 1
        return await self.events.get()

    async def _send(self, event: Event) -> None:
        if not self.can_send.is_set():
            await self.can_send.wait()
        self.sent.append(event)

    @property
    def calls(self) -> list[str]:
        return self.consumer.calls

    @property
    def layer(self) -> Any:
        return self.consumer.channel_layer

    @property
    def channel(self) -> str:
        return self.consumer.channel_name

    def connect(self) -> None:
        self.events.put_nowait({"type": "websocket.connect"})

    def frames(self, *texts: str) -> None:
        for text in texts:
            self.events.put_nowait({"type": "websocket.receive", "text": text})

    def disconnect(self, code: int = 1000) -> None:
        self.events.put_nowait({"type": "websocket.disconnect", "code": code})

    async def until(self, call: str) -> None:
        """Run until a call was recorded."""
        async with asyncio.timeout(PATIENCE):
            while call not in self.calls:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def block(self, at: str) -> None:
        """Run until the consumer blocks at a call."""
        self.consumer.blocks_at = at
        self.consumer.unblock.clear()
        await asyncio.wait_for(self.consumer.is_blocked.wait(), PATIENCE)

    async def ended(self) -> BaseException | None:
        """Wait for the end and return the exception raised, if any. No task may be left."""
        await asyncio.wait([self.task], timeout=PATIENCE)
        assert self.task.done(), f"the consumer does not end: {self.calls}"
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert self.calls.count("clean_up") == self.calls.count("cleaned up") == 1
        if self.task.cancelled():
            return asyncio.CancelledError()
        return self.task.exception()


@pytest.fixture(params=[LocalChannelLayer, InMemoryChannelLayer])
async def run(request: pytest.FixtureRequest) -> AsyncIterator[Run]:
    channel_layers.set("default", request.param())
    run = Run()
    run.connect()
    await run.until("connect")
    yield run
    run.consumer.unblock.set()
    run.can_send.set()
    run.task.cancel()
    await asyncio.wait([run.task], timeout=PATIENCE)


# --- 1. Frames --------------------------------------------------------------------------------


async def test_frames_are_handled_in_order_and_one_at_a_time_after_connect(run: Run) -> None:
    run.frames("one", "two", "three")
    run.disconnect(1001)
    assert await run.ended() is None
    assert run.calls[:8] == [
        "connect",
        *("one", "one done", "two", "two done", "three", "three done"),
        "disconnect 1001",
    ]
    assert run.sent[0]["type"] == "websocket.accept"


async def test_a_busy_consumer_does_not_read_ahead(run: Run) -> None:
    run.frames("slow", "next")
    await run.block("slow")
    reads = run.reads
    for _ in range(20):
        await asyncio.sleep(0)
    assert run.reads == reads
    assert run.events.qsize() == 1
    assert run.calls[-1] == "slow"
    run.consumer.unblock.set()
    await run.until("next done")


# --- 2. Disconnect ----------------------------------------------------------------------------


async def test_disconnect_is_called_once_and_ends_the_consumer(run: Run) -> None:
    run.disconnect(4000)
    run.frames("late")
    run.disconnect(4001)
    assert await run.ended() is None
    assert run.calls == ["connect", "disconnect 4000", "clean_up", "cleaned up"]


# --- 3. The end -------------------------------------------------------------------------------


async def test_an_exception_is_raised_after_clean_up(run: Run) -> None:
    run.frames("explode")
    assert isinstance(await run.ended(), RuntimeError)
    assert "disconnect" not in " ".join(run.calls)


@pytest.mark.parametrize("where", ["reading", "slow"])
async def test_a_cancelled_consumer_runs_clean_up(run: Run, where: str) -> None:
    if where == "slow":
        run.frames("slow")
        await run.block("slow")
    run.task.cancel()
    assert isinstance(await run.ended(), asyncio.CancelledError)
    assert "slow done" not in run.calls


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_clean_up_is_not_interrupted_by_cancellation(run: Run, times: int) -> None:
    run.task.cancel()
    await run.block("clean_up")
    for _ in range(times):
        run.task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not run.task.done()
    run.consumer.unblock.set()
    assert isinstance(await run.ended(), asyncio.CancelledError)


async def test_a_failing_clean_up_leaves_no_task(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def clean_up() -> None:
        run.calls.extend(["clean_up", "cleaned up"])
        raise ValueError("a bug")

    monkeypatch.setattr(run.consumer, "clean_up", clean_up)
    run.disconnect()
    assert isinstance(await run.ended(), ValueError)


async def test_a_client_that_does_not_read_leaves_no_task(run: Run) -> None:
    run.can_send.clear()
    for value in range(3):
        await run.layer.send(run.channel, {"type": "frame", "text": str(value)})
    await run.until("message frame")
    run.disconnect()
    assert await run.ended() is None


async def test_a_channel_ends_with_its_consumer() -> None:
    layer = LocalChannelLayer()
    channel_layers.set("default", layer)
    run = Run()
    run.connect()
    await run.until("connect")
    run.disconnect()
    await run.ended()
    assert not layer.channels
    with pytest.raises(ChannelGone):
        await layer.send(run.channel, {"type": "late"})


async def test_an_unavailable_layer_raises_at_the_start_after_clean_up() -> None:
    class Unavailable(LocalChannelLayer):
        async def new_channel(self, prefix: str | None = None) -> str:
            raise ConnectionError

    channel_layers.set("default", Unavailable())
    run = Run()
    assert isinstance(await run.ended(), ConnectionError)


# --- 4. The database --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_old_connections_are_closed_around_queries_only(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    monkeypatch.setattr(
        "channels.db.close_old_connections", lambda **kwargs: closed.append(threading.get_ident())
    )
    run.frames("one", "two")
    await run.until("two done")
    assert closed == []
    run.frames("query")
    await run.until("query done")
    assert len(closed) == 2
    assert threading.get_ident() not in closed
    run.disconnect()
    await run.ended()
    await database_sync_to_async(lambda: connection.close())()


# --- 5. Messages of the channel layer ---------------------------------------------------------


async def test_messages_are_delivered_in_order(run: Run) -> None:
    for value in range(20):
        await run.layer.send(run.channel, {"type": "number", "value": value})
    await run.until("message 19")
    assert run.calls[1:] == [f"message {value}" for value in range(20)]


async def test_messages_do_not_wait_for_the_frame_that_is_being_handled(run: Run) -> None:
    run.frames("slow")
    await run.block("slow")
    for value in range(3):
        await run.layer.send(run.channel, {"type": "number", "value": value})
    await run.until("message 2")
    assert "slow done" not in run.calls
    run.consumer.unblock.set()
    await run.until("slow done")


async def test_a_failing_delivery_is_logged_and_the_next_message_is_delivered(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    await run.layer.send(run.channel, {"type": "bug"})
    await run.layer.send(run.channel, {"type": "number", "value": 1})
    await run.until("message 1")
    assert run.calls[1:] == ["failed bug", "message 1"]
    assert "Could not deliver a bug message" in caplog.text
    assert not run.task.done()


async def test_messages_to_a_slow_client_overflow(run: Run) -> None:
    run.can_send.clear()
    for value in range(5):
        await run.layer.send(run.channel, {"type": "frame", "text": str(value)})
    await run.until("overflowed")
    assert run.consumer.send_queue.waiting == 3
    run.can_send.set()
    await asyncio.wait_for(run.consumer.send_queue.drained(), PATIENCE)
    assert [event.get("text") for event in run.sent[1:]] == ["0", "1", "2", "3"]


async def test_answers_to_a_slow_client_overflow(run: Run) -> None:
    run.can_send.clear()
    run.frames(*["echo"] * 5)
    await run.until("overflowed")
    assert not run.task.done()


async def test_an_error_of_a_stock_layer_does_not_close_the_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(InMemoryChannelLayer):
        faults = 2

        async def receive(self, channel: str) -> Any:
            if self.faults:
                self.faults -= 1
                raise ConnectionError("broker unavailable")
            return await super().receive(channel)

    channel_layers.set("default", Faulty())
    run = Run()
    run.connect()
    await run.until("connect")
    await run.layer.send(run.channel, {"type": "number", "value": 1})
    await run.until("message 1")
    assert caplog.text.count("Channel layer unavailable, retrying") == 2
    run.disconnect()
    assert await run.ended() is None


async def test_an_abandoned_consumer_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalling.transport.consumer.CLOSE_SECONDS", 0.01)
    run.consumer.abandon()
    assert await run.ended() is None  # a normal end: the server logs no error
