from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalling.transport.send_queue import Event, Overflow, SendQueue, ShareExceeded
from tests.patience import PATIENCE

DISCONNECTED = "A client disconnected before a frame could be sent"


class Server:
    """The ``send`` of an ASGI server: it suspends unless ``is_open``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.error: Exception | None = None

    async def send(self, event: Event) -> None:
        while not self.is_open.is_set():
            await self.is_open.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(event.get("text"))


@pytest.fixture
async def server() -> Server:
    return Server()


def make_queue(
    send: Callable[[Event], Awaitable[None]], frames: int = 4, size: int = 40
) -> SendQueue:
    return SendQueue(send, frames, size)


def text(value: object) -> Event:
    return {"type": "websocket.send", "text": str(value)}


async def drained(send_queue: SendQueue) -> None:
    await asyncio.wait_for(send_queue.drained(), PATIENCE)


# --- Order --------------------------------------------------------------------------------------


async def test_a_send_that_completes_needs_no_task(server: Server) -> None:
    send_queue = make_queue(server.send)
    before = asyncio.all_tasks()
    for value in range(10):
        send_queue.put(text(value))
        assert server.sent[-1] == str(value)
    assert asyncio.all_tasks() == before
    assert send_queue.waiting == 0


async def test_later_events_wait_behind_a_suspended_send(server: Server) -> None:
    send_queue = make_queue(server.send)
    server.is_open.clear()
    for value in range(3):
        send_queue.put(text(value))
    assert server.sent == []
    assert send_queue.waiting == 2  # the server has the first one
    server.is_open.set()
    send_queue.put(text(3))  # although the server is open again
    await drained(send_queue)
    assert server.sent == ["0", "1", "2", "3"]
    send_queue.put(text(4))
    assert server.sent[-1] == "4"


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["none", "future", "sleep"]), st.booleans()),
        max_size=30,
    )
)
def test_the_order_is_kept_however_sends_suspend(plan: list[tuple[int, str, bool]]) -> None:
    """Each ``send`` suspends a number of times, in one way; the loop runs between some puts."""
    sent: list[int] = []

    async def send(event: Event) -> None:
        value = int(event["text"])
        times, way, _ = plan[value]
        for _ in range(times):
            if way == "future":
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_soon(future.set_result, None)
                await future
            elif way == "sleep":
                await asyncio.sleep(0)
        sent.append(value)

    async def run() -> None:
        send_queue = SendQueue(send, 1000, 1000)
        for value, (_, _, is_pause) in enumerate(plan):
            send_queue.put(text(value))
            if is_pause:
                await asyncio.sleep(0)
        await drained(send_queue)
        assert send_queue.waiting == 0

    asyncio.run(run())
    assert sent == list(range(len(plan)))


# --- Bounds ---------------------------------------------------------------------------------------


async def test_frames_are_bounded(server: Server) -> None:
    send_queue = make_queue(server.send, frames=3)
    server.is_open.clear()
    for value in range(4):
        send_queue.put(text(value))
    with pytest.raises(Overflow):
        send_queue.put(text("too many"))
    server.is_open.set()
    await drained(send_queue)
    assert server.sent == ["0", "1", "2", "3"]


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_bytes_are_bounded(server: Server, kind: str) -> None:
    send_queue = make_queue(server.send, frames=100, size=10)
    frame = "12345" if kind == "text" else b"12345"
    server.is_open.clear()
    for _ in range(3):
        send_queue.put({"type": "websocket.send", kind: frame})
    with pytest.raises(Overflow):
        send_queue.put({"type": "websocket.send", kind: frame[:1]})
    server.is_open.set()
    await drained(send_queue)
    assert len(server.sent) == 3


async def test_sent_events_free_the_queue(server: Server) -> None:
    send_queue = make_queue(server.send, frames=2, size=10)
    for _ in range(20):
        server.is_open.clear()
        for value in ("first", "12345", "12345"):
            send_queue.put(text(value))
        with pytest.raises(Overflow):
            send_queue.put(text("x"))
        server.is_open.set()
        await drained(send_queue)


async def test_put_last_replaces_waiting_events(
    server: Server,
) -> None:
    send_queue = make_queue(server.send, frames=2, size=10)
    server.is_open.clear()
    for value in range(3):
        send_queue.put(text(value))
    send_queue.put_last(text("too slow, and longer than the bound"), text("close"))
    server.is_open.set()
    await drained(send_queue)
    assert server.sent == ["0", "too slow, and longer than the bound", "close"]


async def test_put_last_without_waiting_events(server: Server) -> None:
    send_queue = make_queue(server.send)
    send_queue.put_last(text("why"), text("close"))
    assert server.sent == ["why", "close"]
    server.is_open.clear()
    send_queue.put_last(text("why"), text("close"))
    server.is_open.set()
    await drained(send_queue)
    assert server.sent == ["why", "close"] * 2


async def test_senders_have_shares_and_leave_room_for_others_and_for_the_server(
    server: Server,
) -> None:
    send_queue = make_queue(server.send, frames=4, size=1000)
    server.is_open.clear()
    send_queue.put(text("first"), "eve")
    accepted = []
    for number, user in enumerate(["eve", "eve", "eve", "eve", "bob", "eve", "bob"]):
        with suppress(ShareExceeded):
            send_queue.put(text(number), user)
            accepted.append(str(number))
    assert accepted == ["0", "1", "4"]
    for number in range(4):
        send_queue.put(text(f"server {number}"))
    with pytest.raises(Overflow):
        send_queue.put(text("server 4"))
    server.is_open.set()
    await drained(send_queue)
    assert server.sent == ["first", *accepted, *(f"server {number}" for number in range(4))]
    server.is_open.clear()
    for user in ("eve", "eve", "eve", "bob"):  # what was sent is free again
        send_queue.put(text("again"), user)


async def test_a_client_has_stalled_if_a_share_is_full_and_nothing_is_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("signalling.transport.send_queue.monotonic", lambda: now)
    send_queue = SendQueue(server.send, 4, 1000, stall_seconds=5)
    server.is_open.clear()
    for number in range(3):
        send_queue.put(text(number), "eve")
    now = 4.9
    with pytest.raises(ShareExceeded):
        send_queue.put(text("over the share"), "eve")
    now = 5.0
    send_queue.put(text("within the share"), "bob")
    with pytest.raises(Overflow):
        send_queue.put(text("over the share"), "eve")


async def test_a_slow_client_that_reads_has_not_stalled(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("signalling.transport.send_queue.monotonic", lambda: now)
    turns: asyncio.Queue[None] = asyncio.Queue()

    async def send(event: Event) -> None:
        await turns.get()

    send_queue = SendQueue(send, 4, 1000, stall_seconds=5)
    refused = 0
    for number in range(100):  # three are sent while one is written, every 4 s
        for _ in range(3):
            try:
                send_queue.put(text(number), "eve")
            except ShareExceeded:
                refused += 1
        now += 4
        turns.put_nowait(None)
        for _ in range(3):
            await asyncio.sleep(0)
    assert 190 < refused < 210
    send_queue.cancel()


# --- Failures -------------------------------------------------------------------------------------


async def test_a_disconnected_client_raises_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "signalling")
    send_queue = make_queue(server.send)
    server.error = OSError("gone")
    send_queue.put(text(1))
    assert DISCONNECTED in caplog.text
    assert server.sent == []


async def test_a_disconnect_during_a_send_ends_the_writer(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "signalling")
    send_queue = make_queue(server.send, size=4)
    server.is_open.clear()
    for value in range(4):
        send_queue.put(text(value))
    server.error = RuntimeError("Disconnected")
    server.is_open.set()
    await drained(send_queue)
    assert DISCONNECTED in caplog.text
    assert send_queue.waiting == 0
    server.error = None
    server.is_open.clear()
    for value in range(4):  # discarded events do not count
        send_queue.put(text(value))
    server.is_open.set()
    await drained(send_queue)
    assert server.sent == ["0", "1", "2", "3"]


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_a_cancelled_queue_leaves_no_task(server: Server, turns: int) -> None:
    before = asyncio.all_tasks()
    send_queue = make_queue(server.send)
    server.is_open.clear()
    send_queue.put(text(1))
    send_queue.put(text(2))
    for _ in range(turns):
        await asyncio.sleep(0)
    send_queue.cancel()
    await drained(send_queue)
    assert asyncio.all_tasks() == before
    assert send_queue.waiting == 0
    assert server.sent == []
    send_queue.cancel()


async def test_a_suspended_send_may_handle_its_cancellation(server: Server) -> None:
    seen: list[str] = []

    async def send(event: Event) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cleaned up")
            raise

    send_queue = make_queue(send)
    send_queue.put(text(1))
    await asyncio.sleep(0)
    send_queue.cancel()
    await drained(send_queue)
    assert seen == ["cleaned up"]


async def test_a_suspended_send_gets_the_exception_it_awaits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "signalling")
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    results: list[Any] = []

    async def send(event: Event) -> None:
        try:
            await future
        except ConnectionError as error:
            results.append(error)
        await asyncio.sleep(0)
        results.append(await asyncio.wait_for(asyncio.sleep(0, "value"), PATIENCE))

    send_queue = make_queue(send)
    send_queue.put(text(1))
    error = ConnectionError()
    future.set_exception(error)
    await drained(send_queue)
    assert results == [error, "value"]
    assert DISCONNECTED not in caplog.text


async def test_a_suspended_send_gets_the_result_it_awaits() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    results: list[int] = []

    async def send(event: Event) -> None:
        results.append(await future)

    send_queue = make_queue(send)
    send_queue.put(text(1))
    future.set_result(7)  # before the writer task has started
    await drained(send_queue)
    assert results == [7]
