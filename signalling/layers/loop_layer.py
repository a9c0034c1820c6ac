"""The part of a ``RedisChannelLayer`` that belongs to one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from channels.exceptions import ChannelFull
from redis.exceptions import RedisError

from . import drops
from .bus import MessageBus
from .exceptions import ChannelGone
from .local import LocalChannelLayer, Message
from .named_queues import NamedQueues
from .namespaces import Namespace, Refused
from .subscriber import Undelivered
from .tasks import BackgroundTasks


class RedisLoopLayer:
    """The channels of this event loop, the bus to other processes, and the named queues."""

    def __init__(
        self,
        *,
        hosts: list[dict[str, Any]],
        namespaces: Sequence[Namespace],
        expiry: float,
        group_expiry: float,
        capacity: int,
        channel_capacity: Any,
        timeout: float,
        buffer_bytes: int,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.bus = MessageBus(
            namespaces=namespaces,
            hosts=hosts,
            timeout=timeout,
            buffer_bytes=buffer_bytes,
            receiver=self,
        )
        self.local = LocalChannelLayer(
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            prefix=f"{namespaces[0].prefix}.{self.bus.id}",
        )
        self.local.channel_capacity = channel_capacity
        self.queues = NamedQueues(hosts, namespaces=namespaces, expiry=expiry)
        self._timeout = timeout
        self._tasks = BackgroundTasks()
        self._is_closing = False

    def target(self, channel: str) -> str | None:
        """Return the id of a channel's process, ``None`` for a named queue."""
        process, mark, _ = channel.partition("!")
        return process.rpartition(".")[2] if mark else None

    async def close(self) -> None:
        self._is_closing = True
        await self._tasks.cancel()
        await self.queues.close(self._timeout)
        await self.bus.close()

    # --- subscriber.Receiver ----------------------------------------------------------------------

    def deliver(self, channel: str, message: Message) -> Undelivered | None:
        if channel not in self.local.channels and self.target(channel) != self.bus.id:
            raise Refused("malformed", "a channel of another process")
        try:
            self.local.put(channel, message)
        except ChannelFull as error:
            drops.bus.add("full", "A channel is full or gone; its sender elsewhere is notified")
            return "gone" if isinstance(error, ChannelGone) else "full"
        return None

    def deliver_group(self, group: str, message: Message) -> None:
        try:
            self.local.put_group(group, message)
        except ChannelFull as error:
            drops.bus.add("full", "A group message did not reach all members: %s", error)

    def message_lost(self, sender: str, channel: str) -> None:
        self._report("gone", sender, {"type": "channel.lost", "channel": channel})

    def message_refused(self, sender: str, channel: str) -> None:
        self._report("full", sender, {"type": "channel.refused", "channel": channel})

    def _report(self, kind: Undelivered, sender: str, report: Message) -> None:
        """Send a report to the sender of a message, also if this process had only passed it on.

        A channel of another process must never get a queue here, which nobody would read: later
        messages to it would wait there as well.
        """
        process = self.target(sender)
        if process == self.bus.id:
            with suppress(ChannelFull):
                self.local.put(sender, report)
        elif process is None:
            self._tasks.start(self._push(sender, report))
        elif not self._is_closing:
            self.bus.report(process, kind, sender, report["channel"])

    async def _push(self, queue: str, report: Message) -> None:
        try:
            await self.queues.push(queue, report, self.local.get_capacity(queue))
        except (ChannelFull, RedisError, OSError) as error:
            drops.bus.add("report", "Could not report lost messages to a queue: %r", error)

    def messages_missed(self, source: str) -> None:
        drops.bus.add("missed", "Missed messages from process %r", source)
        self.local.put_attached({"type": "channel.missed"})
