"""The guarantees in ``direct``'s docstring, with our layers and the stock one."""

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

pytestmark = pytest.mark.django_db  # Channels' disconnect closes old connections

WAIT = 10


class Consumer(BoundedConsumer):
    """Says what happens to it; ``hold`` stops it where a test wants it stopped."""

    outbound_frames = 3

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.holds_at = ""
        self.is_held = asyncio.Event()

    async def says(self, what: str) -> None:
        self.told.append(what)
        if what == self.holds_at:
            self.is_held.set()
            await self.hold.wait()

    async def connect(self) -> None:
        await self.accept()
        await self.says("connect")

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        assert text_data is not None
        await self.says(text_data)
        if text_data == "explode":
            raise RuntimeError("a bug")
        if text_data == "query":
            await database_sync_to_async(User.objects.count)()
        if text_data == "echo":
            await self.send(text_data)
        await asyncio.sleep(0)
        self.told.append(f"{text_data} done")

    async def disconnect(self, code: int) -> None:
        await self.says(f"disconnect {code}")

    def deliver(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "bug":
                raise RuntimeError("a bug")
            case "overflow":
                raise Overflow
            case "frame":
                self.send_queue.put({"type": "websocket.send", "text": message["text"]})
        self.told.append(f"message {message.get('value', message['type'])}")

    def delivery_failed(self, message_type: str) -> None:
        super().delivery_failed(message_type)
        self.told.append(f"failed {message_type}")

    def overflowed(self) -> None:
        self.told.append("overflowed")

    async def clean_up(self) -> None:
        await self.says("clean_up")
        await asyncio.sleep(0)
        self.told.append("cleaned up")


class Run:
    """One consumer on a fake server."""

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
    def told(self) -> list[str]:
        return self.consumer.told

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

    async def until(self, what: str) -> None:
        """Let it run until it has said something."""
        async with asyncio.timeout(WAIT):
            while what not in self.told:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def held(self, at: str) -> None:
        """Let it run until it stops at something."""
        self.consumer.holds_at = at
        self.consumer.hold.clear()
        await asyncio.wait_for(self.consumer.is_held.wait(), WAIT)

    async def ended(self) -> BaseException | None:
        """Wait for its end: what it raised, if anything; it must have left no task."""
        await asyncio.wait([self.task], timeout=WAIT)
        assert self.task.done(), f"it does not end: {self.told}"
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert self.told.count("clean_up") == self.told.count("cleaned up") == 1
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
    run.consumer.hold.set()
    run.can_send.set()
    run.task.cancel()
    await asyncio.wait([run.task], timeout=WAIT)


# --- 1. Frames ------------------------------------------------------------------------------------


async def test_connect_comes_first_and_frames_in_order_one_at_a_time(run: Run) -> None:
    run.frames("one", "two", "three")
    run.disconnect(1001)
    assert await run.ended() is None
    assert run.told[:8] == [
        "connect",
        *("one", "one done", "two", "two done", "three", "three done"),
        "disconnect 1001",
    ]
    assert run.sent[0]["type"] == "websocket.accept"


async def test_a_busy_consumer_does_not_read_ahead(run: Run) -> None:
    run.frames("slow", "next")
    await run.held("slow")
    reads = run.reads
    for _ in range(20):
        await asyncio.sleep(0)
    assert run.reads == reads
    assert run.events.qsize() == 1
    assert run.told[-1] == "slow"
    run.consumer.hold.set()
    await run.until("next done")


# --- 2. The disconnect ------------------------------------------------------------------------------


async def test_a_disconnect_is_heard_once_and_ends_the_consumer(run: Run) -> None:
    run.disconnect(4000)
    run.frames("late")
    run.disconnect(4001)
    assert await run.ended() is None
    assert run.told == ["connect", "disconnect 4000", "clean_up", "cleaned up"]


# --- 3. The end ---------------------------------------------------------------------------------------


async def test_an_exception_is_cleaned_up_after_and_raised(run: Run) -> None:
    run.frames("explode")
    assert isinstance(await run.ended(), RuntimeError)
    assert "disconnect" not in " ".join(run.told)


@pytest.mark.parametrize("where", ["reading", "slow"])
async def test_a_cancelled_consumer_is_cleaned_up_after(run: Run, where: str) -> None:
    if where == "slow":
        run.frames("slow")
        await run.held("slow")
    run.task.cancel()
    assert isinstance(await run.ended(), asyncio.CancelledError)
    assert "slow done" not in run.told


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_a_clean_up_is_not_cut_off(run: Run, times: int) -> None:
    run.task.cancel()
    await run.held("clean_up")
    for _ in range(times):
        run.task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not run.task.done()
    run.consumer.hold.set()
    assert isinstance(await run.ended(), asyncio.CancelledError)


async def test_a_clean_up_that_fails_leaves_no_task(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def clean_up() -> None:
        run.told.extend(["clean_up", "cleaned up"])
        raise ValueError("a bug")

    monkeypatch.setattr(run.consumer, "clean_up", clean_up)
    run.disconnect()
    assert isinstance(await run.ended(), ValueError)


async def test_a_client_that_does_not_read_keeps_no_task_alive(run: Run) -> None:
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


async def test_a_layer_that_is_away_at_the_start_is_raised_and_cleaned_up_after() -> None:
    class Away(LocalChannelLayer):
        async def new_channel(self, prefix: str | None = None) -> str:
            raise ConnectionError

    channel_layers.set("default", Away())
    run = Run()
    assert isinstance(await run.ended(), ConnectionError)


# --- 4. The database ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_connections_are_closed_around_a_query_and_only_there(
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


# --- 5. Messages of the channel layer -----------------------------------------------------------------


async def test_messages_come_one_at_a_time_in_order(run: Run) -> None:
    for value in range(20):
        await run.layer.send(run.channel, {"type": "number", "value": value})
    await run.until("message 19")
    assert run.told[1:] == [f"message {value}" for value in range(20)]


async def test_messages_do_not_wait_for_a_frame_that_is_being_handled(run: Run) -> None:
    run.frames("slow")
    await run.held("slow")
    for value in range(3):
        await run.layer.send(run.channel, {"type": "number", "value": value})
    await run.until("message 2")
    assert "slow done" not in run.told
    run.consumer.hold.set()
    await run.until("slow done")


async def test_a_message_that_fails_is_logged_and_the_next_one_is_handled(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    await run.layer.send(run.channel, {"type": "bug"})
    await run.layer.send(run.channel, {"type": "number", "value": 1})
    await run.until("message 1")
    assert run.told[1:] == ["failed bug", "message 1"]
    assert "Could not deliver a bug message" in caplog.text
    assert not run.task.done()


async def test_a_client_that_does_not_keep_up_is_told_of_by_messages(run: Run) -> None:
    run.can_send.clear()
    for value in range(5):
        await run.layer.send(run.channel, {"type": "frame", "text": str(value)})
    await run.until("overflowed")
    assert run.consumer.send_queue.waiting == 3
    run.can_send.set()
    await asyncio.wait_for(run.consumer.send_queue.drained(), WAIT)
    assert [event.get("text") for event in run.sent[1:]] == ["0", "1", "2", "3"]


async def test_a_client_that_does_not_keep_up_is_told_of_by_frames(run: Run) -> None:
    run.can_send.clear()
    run.frames(*["echo"] * 5)
    await run.until("overflowed")
    assert not run.task.done()


async def test_a_stock_layer_that_fails_closes_no_socket(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(InMemoryChannelLayer):
        faults = 2

        async def receive(self, channel: str) -> Any:
            if self.faults:
                self.faults -= 1
                raise ConnectionError("the broker is away")
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


async def test_an_abandoned_application_is_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalling.transport.consumer.CLOSE_SECONDS", 0.01)
    run.consumer.abandon()
    assert await run.ended() is None  # as if it had ended by itself: the server sees no bug
