from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from channels.exceptions import ChannelFull

from signalling.layers import ChannelGone, LocalChannelLayer
from tests.patience import PATIENCE

Message = dict[str, Any]


@pytest.fixture
def layer() -> LocalChannelLayer:
    return LocalChannelLayer()


def sizes(layer: LocalChannelLayer) -> tuple[int, int]:
    return len(layer.channels), len(layer.groups)


async def attached(layer: LocalChannelLayer, group: str = "") -> tuple[str, list[Message]]:
    """Return a channel, and the list of messages that it receives."""
    received: list[Message] = []
    channel = await layer.new_channel()
    layer.attach(channel, received.append)
    if group:
        await layer.group_add(group, channel)
    return channel, received


# --- Attached ---------------------------------------------------------------------------------


async def test_an_attached_channel_receives_in_the_senders_turn_of_the_loop(
    layer: LocalChannelLayer,
) -> None:
    channel, received = await attached(layer, "tea")
    layer.put(channel, {"type": "one"})
    assert received == [{"type": "one"}]
    layer.put_group("tea", {"type": "two"})
    assert received == [{"type": "one"}, {"type": "two"}]
    await layer.send(channel, {"type": "three"})
    await layer.group_send("tea", {"type": "four"})
    assert [message["type"] for message in received] == ["one", "two", "three", "four"]


async def test_messages_are_not_copied(layer: LocalChannelLayer) -> None:
    (first, one), (_, two) = await attached(layer, "tea"), await attached(layer, "tea")
    message = {"type": "large", "frame": "x" * 1000}
    await layer.group_send("tea", message)
    await layer.send(first, message)
    assert [entry is message for entry in one + two] == [True] * 3
    queued = await layer.new_channel()
    await layer.send(queued, message)
    assert await layer.receive(queued) is message


async def test_attaching_delivers_waiting_messages_unless_they_have_expired() -> None:
    layer = LocalChannelLayer(expiry=0.05)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "old"})
    await asyncio.sleep(0.06)
    await layer.send(channel, {"type": "new"})
    received: list[Message] = []
    layer.attach(channel, received.append)
    assert received == [{"type": "new"}]


async def test_a_consumer_is_called_in_the_thread_of_its_loop(
    layer: LocalChannelLayer,
) -> None:
    received: list[tuple[int, int]] = []
    is_ready, is_done = threading.Event(), threading.Event()
    channel = await layer.new_channel()

    async def receive() -> None:
        done = asyncio.Event()

        def deliver(message: Message) -> None:
            received.append((threading.get_ident(), message["value"]))
            if message["value"] == 99:
                done.set()

        layer.attach(channel, deliver)
        is_ready.set()
        await asyncio.wait_for(done.wait(), PATIENCE)
        is_done.set()

    thread = threading.Thread(target=asyncio.run, args=(receive(),))
    thread.start()
    await asyncio.to_thread(is_ready.wait, 10)
    for value in range(100):
        await layer.send(channel, {"type": "number", "value": value})
    assert await asyncio.to_thread(is_done.wait, 10)
    await asyncio.to_thread(thread.join, 10)
    assert received == [(thread.ident, value) for value in range(100)]
    with pytest.raises(ChannelGone):  # its loop has ended
        await layer.send(channel, {"type": "late"})


async def test_a_message_from_another_thread_wakes_a_waiting_receiver(
    layer: LocalChannelLayer,
) -> None:
    channel = await layer.new_channel()
    receiver = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0)
    await asyncio.to_thread(lambda: asyncio.run(layer.send(channel, {"type": "hello"})))
    assert await asyncio.wait_for(receiver, PATIENCE) == {"type": "hello"}


async def test_a_detached_channel_is_gone(layer: LocalChannelLayer) -> None:
    channel, received = await attached(layer, "tea")
    layer.detach(channel)
    with pytest.raises(ChannelGone):
        await layer.send(channel, {"type": "late"})
    await layer.group_send("tea", {"type": "late"})
    await layer.group_add("tea", channel)  # a join that completes after its socket has closed
    await layer.group_send("tea", {"type": "late"})
    assert received == []
    assert sizes(layer) == (0, 0)
    layer.detach(channel)


async def test_a_channel_may_be_attached_again(layer: LocalChannelLayer) -> None:
    channel, received = await attached(layer)
    layer.detach(channel)
    layer.attach(channel, received.append)
    await layer.group_add("tea", channel)
    await layer.send(channel, {"type": "hello"})
    await layer.group_send("tea", {"type": "all"})
    assert received == [{"type": "hello"}, {"type": "all"}]


async def test_a_member_may_detach_while_its_group_is_served(
    layer: LocalChannelLayer,
) -> None:
    channels = [await layer.new_channel() for _ in range(3)]
    received: list[str] = []

    def detaching(name: str) -> Any:
        def deliver(message: Message) -> None:
            received.append(name)
            layer.detach(name)

        return deliver

    for channel in channels:
        layer.attach(channel, detaching(channel))
        await layer.group_add("tea", channel)
    await layer.group_send("tea", {"type": "fire"})
    assert received == channels
    assert sizes(layer) == (0, 0)


async def test_put_attached_reaches_all_attached_channels(layer: LocalChannelLayer) -> None:
    _, received = await attached(layer)
    queued = await layer.new_channel()
    await layer.send(queued, {"type": "waits"})
    layer.put_attached({"type": "channel.missed"})
    assert received == [{"type": "channel.missed"}]
    assert await layer.receive(queued) == {"type": "waits"}


async def test_a_flush_keeps_attached_channels_and_waiting_receivers(
    layer: LocalChannelLayer,
) -> None:
    channel, received = await attached(layer, "tea")
    waiting = await layer.new_channel()
    receiver = asyncio.ensure_future(layer.receive(waiting))
    await asyncio.sleep(0)
    await layer.flush()
    await layer.group_send("tea", {"type": "without members"})
    await layer.send(channel, {"type": "hello"})
    await layer.send(waiting, {"type": "hello"})
    assert received == [{"type": "hello"}]
    assert await asyncio.wait_for(receiver, PATIENCE) == {"type": "hello"}


# --- Full -------------------------------------------------------------------------------------


async def test_group_send_serves_all_others_before_it_reports_a_full_member() -> None:
    layer = LocalChannelLayer(capacity=1)
    full = await layer.new_channel()
    await layer.group_add("tea", full)
    _, received = await attached(layer, "tea")
    await layer.group_send("tea", {"type": "one"})
    with pytest.raises(ChannelFull, match="1 members"):
        await layer.group_send("tea", {"type": "two"})
    assert received == [{"type": "one"}, {"type": "two"}]
    assert await layer.receive(full) == {"type": "one"}


async def test_an_abandoned_member_is_removed_from_its_groups() -> None:
    layer = LocalChannelLayer(capacity=1, group_expiry=0.05)
    abandoned = await layer.new_channel()
    for group in ("tea", "coffee"):
        await layer.group_add(group, abandoned)
    await layer.group_send("tea", {"type": "one"})
    with pytest.raises(ChannelFull):
        await layer.group_send("tea", {"type": "two"})
    await asyncio.sleep(0.06)
    await layer.group_send("tea", {"type": "three"})
    assert sizes(layer) == (0, 0)


async def test_a_member_that_reads_is_not_abandoned() -> None:
    layer = LocalChannelLayer(capacity=1, group_expiry=0.05)
    slow = await layer.new_channel()
    await layer.group_add("tea", slow)
    await asyncio.sleep(0.06)
    await layer.group_send("tea", {"type": "one"})
    await layer.receive(slow)
    await layer.group_send("tea", {"type": "two"})
    with pytest.raises(ChannelFull):
        await layer.group_send("tea", {"type": "three"})


# --- No leaks ---------------------------------------------------------------------------------


async def test_detached_channels_leave_no_state() -> None:
    layer = LocalChannelLayer(expiry=0.05)
    for number in range(10_000):
        channel, _ = await attached(layer, f"room.{number % 100}")
        await layer.send(channel, {"type": "hello"})
        layer.detach(channel)
    assert sizes(layer) == (0, 0)
    await asyncio.sleep(0.06)
    channel, _ = await attached(layer)
    layer.detach(channel)
    assert len(layer._gone) == 1


async def test_channels_without_attach_leave_no_state(
    layer: LocalChannelLayer,
) -> None:
    for _ in range(10_000):
        channel = await layer.new_channel()
        await layer.group_add("tea", channel)
        await layer.send(channel, {"type": "hello"})
        await layer.receive(channel)
        await layer.group_discard("tea", channel)
    assert sizes(layer) == (0, 0)
    assert not layer._unread


async def test_messages_without_a_reader_leave_no_state() -> None:
    """Also if the sender's event loop has ended, like that of ``async_to_sync``."""
    layer = LocalChannelLayer(expiry=0.05)

    async def send() -> None:
        for number in range(500):
            await layer.send(f"unread.{number}", {"type": "hello"})

    await send()
    await asyncio.to_thread(lambda: asyncio.run(send()))
    await asyncio.sleep(0.06)
    await layer.send("other", {"type": "hello"})
    assert list(layer.channels) == ["other"]
    assert list(layer._unread) == ["other"]


async def test_a_receiver_that_leaves_messages_unread_leaves_no_state() -> None:
    """A stock consumer does not detach its channel."""
    layer = LocalChannelLayer(expiry=0.05)
    for _ in range(100):
        channel = await layer.new_channel()
        await layer.group_add("tea", channel)
        receiver = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
        receiver.cancel()
        await asyncio.wait([receiver])
        await layer.send(channel, {"type": "unread"})
        await layer.group_discard("tea", channel)
    await asyncio.sleep(0.06)
    await layer.send("other", {"type": "hello"})
    assert list(layer.channels) == ["other"]


async def test_a_layer_uses_no_timers(layer: LocalChannelLayer) -> None:
    await layer.send("unread", {"type": "hello"})
    gc.collect()
    assert not asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
