"""The message bus between the processes of a ``RedisChannelLayer``, on Redis pub/sub.

Each process has a Redis channel of its own, and each Redis host has one for messages to all
processes (group messages). A process subscribes to two channels, on the one host that its id
selects. All that one turn of its event loop sends to another process is packed into one PUBLISH, so
Redis is paid for by the batch instead of by the message.

Every batch carries a version and signatures (see ``namespaces``), the id of its process, a number
and the time. Therefore

- order is kept for each pair of sender and receiver, across both channels;
- a PUBLISH without a receiver is noticed at once, because Redis returns the number of receivers;
- a batch that Redis lost later is noticed by the gap in the numbers: at the next batch, or at the
  next heartbeat, which follows each batch within seconds. In either case its senders are notified;
- a batch that arrives after a later one is dropped: it was reported as lost. So are replays. The time
  tells them from the first batch of a process (see ``subscriber.MAX_AGE_SECONDS``);
- an implausible number is ignored, so it silences no process (see ``numbers``).

Whatever else arrives is dropped and counted: garbage, forged payloads, messages of another release.

A message that was reported as lost may have been delivered nevertheless: a Redis that does not
answer for a while still executes what it has received.

An outage of Redis closes nothing: the subscriber subscribes again as soon as it can, and logs it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import msgpack

from .batches import Reply
from .connections import ALL, host_index
from .exceptions import Undeliverable
from .namespaces import Namespace
from .publisher import Publisher
from .subscriber import Receiver, Subscriber, Undelivered


class MessageBus:
    """One process, or more precisely one event loop, among the processes of a layer."""

    def __init__(
        self,
        *,
        namespaces: Sequence[Namespace],
        hosts: Sequence[dict[str, Any]],
        timeout: float,
        buffer_bytes: int,
        receiver: Receiver,
    ) -> None:
        self.id = secrets.token_hex(6)
        self.publishers = [
            Publisher(
                options,
                process_id=self.id,
                namespaces=namespaces,
                timeout=timeout,
                buffer_bytes=buffer_bytes,
                on_lost=receiver.message_lost,
            )
            for options in hosts
        ]
        self.subscriber = Subscriber(
            hosts[host_index(self.id, len(hosts))],
            process_id=self.id,
            namespaces=namespaces,
            timeout=timeout,
            receiver=receiver,
            publisher_for=self.publisher_for,
        )
        self._timeout = timeout
        self._is_started = False

    def publisher_for(self, target: str) -> Publisher:
        """Return the publisher for the host that a process is subscribed on."""
        return self.publishers[host_index(target, len(self.publishers))]

    async def subscribe(self) -> None:
        """Return once this process receives messages.

        Raises ``Undeliverable`` after the timeout.
        """
        if not self._is_started:
            self._is_started = True
            own = self.publisher_for(self.id)
            for publisher in self.publishers:
                publisher.start(is_own_host=publisher is own)
            self.subscriber.start()
        try:
            async with asyncio.timeout(self._timeout):
                await self.subscriber.ready.wait()
        except TimeoutError:
            raise Undeliverable("Redis unavailable") from None

    async def send(self, target: str, channel: str, message: dict[str, Any]) -> None:
        """Send to a channel of another process. Raises ``Undeliverable`` and ``ChannelFull``."""
        await self.publisher_for(target).send(target, *_packed(channel, message))

    def put(self, target: str, channel: str, message: dict[str, Any]) -> None:
        """``send`` without waiting.

        Raises ``ChannelFull``; other losses go to the ``reply_channel``.
        """
        self.publisher_for(target).post(target, *_packed(channel, message))

    async def send_to_all(self, group: str, message: dict[str, Any]) -> None:
        """Send to a group's members in all other processes. Raises as ``send`` does."""
        item = msgpack.packb(["group", group, message])
        await asyncio.gather(*(publisher.send(ALL, item) for publisher in self.publishers))

    def report(self, target: str, kind: Undelivered, sender: str, channel: str) -> None:
        """Notify a process that a message of its channel ``sender`` to ``channel`` was lost."""
        self.subscriber.report(target, kind, [sender, channel])

    async def finish(self) -> None:
        """Receive what is on its way, then nothing more; see ``Subscriber.finish``."""
        await self.subscriber.finish()

    async def close(self) -> None:
        await self.subscriber.close()
        for publisher in self.publishers:
            await publisher.close()


def _packed(channel: str, message: dict[str, Any]) -> tuple[bytes, Reply | None]:
    sender = message.get("reply_channel")
    return msgpack.packb(["channel", channel, message]), (sender, channel) if sender else None
