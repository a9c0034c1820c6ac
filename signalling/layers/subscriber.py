"""Receives the messages of other processes from the Redis host of this process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgpack
from channels.exceptions import ChannelFull
from redis.exceptions import RedisError

from . import publisher
from .connections import ALL, connect, pubsub_channel
from .exceptions import Undeliverable
from .publisher import Publisher
from .tasks import BackgroundTasks

logger = logging.getLogger("signalling.pubsub")

REPORT_ATTEMPTS = 12
"""Attempts to report lost messages to their process, within about 8 seconds."""


class Receiver(Protocol):
    """Handles what a ``Subscriber`` receives."""

    def deliver(self, channel: str, message: dict[str, Any]) -> bool:
        """Deliver a message to a channel; return ``False`` if the channel is full or gone."""

    def deliver_group(self, group: str, message: dict[str, Any]) -> None:
        """Deliver a message to the members of a group in this process."""

    def message_lost(self, sender: str, channel: str) -> None:
        """Notify the channel ``sender`` that its message to ``channel`` was lost."""

    def messages_missed(self, source: str) -> None:
        """Notify all channels that messages from the process ``source`` did not arrive."""


class Subscriber:
    """Subscribes to the channel of this process and to the one for all processes.

    ``publisher_for`` returns the publisher for the host that a process is subscribed on.
    """

    def __init__(
        self,
        options: dict[str, Any],
        *,
        process_id: str,
        prefix: str,
        timeout: float,
        receiver: Receiver,
        publisher_for: Callable[[str], Publisher],
    ) -> None:
        self.ready = asyncio.Event()
        """Set while Redis has confirmed both subscriptions."""
        self._process_id = process_id
        self._channels = [pubsub_channel(prefix, target) for target in (process_id, ALL)]
        self._timeout = timeout
        self._receiver = receiver
        self._publisher_for = publisher_for
        self._redis = connect(options, timeout=None)
        self._numbers: dict[tuple[str, str], int] = {}
        """The number of the last batch for each source and stream."""
        self._received_at = time.monotonic()
        self._tasks = BackgroundTasks()

    def start(self) -> None:
        self._tasks.start(self._keep_subscribed())
        self._tasks.start(self._check_heartbeats())

    async def close(self) -> None:
        await self._tasks.cancel()
        await self._redis.aclose()

    # --- The subscription -------------------------------------------------------------------------

    async def _keep_subscribed(self) -> None:
        wait = 0.05
        while True:
            try:
                await self._subscribe_and_read()
            except (RedisError, OSError, TimeoutError) as error:
                if self.ready.is_set():
                    logger.warning("Lost the subscription to Redis: %s", error)
            except Exception:
                logger.exception("The subscriber failed and restarts")
            wait = 0.05 if self.ready.is_set() else min(wait * 2, 1.0)
            self.ready.clear()
            await asyncio.sleep(wait)

    async def _subscribe_and_read(self) -> None:
        async with self._redis.pubsub() as pubsub:
            async with asyncio.timeout(self._timeout):
                await pubsub.subscribe(*self._channels)
                for _ in self._channels:  # nothing may be sent here before both are confirmed
                    await pubsub.parse_response(block=True)
            self._received_at = time.monotonic()
            self.ready.set()
            if self._numbers:
                logger.warning("Subscribed to Redis again")
                # Other processes may have missed batches of this one too.
                self._publisher_for(self._process_id).send_heartbeat()
                self._receiver.messages_missed("any")
            connection = pubsub.connection
            while True:
                kind, _, payload = await connection.read_response(disable_decoding=True)
                if kind == b"message":
                    self._received_at = time.monotonic()
                    self.handle_batch(payload)

    async def _check_heartbeats(self) -> None:
        """Reconnect if this process does not receive its own heartbeats."""
        while True:
            await asyncio.sleep(publisher.HEARTBEAT_SECONDS)
            silence = time.monotonic() - self._received_at
            if self.ready.is_set() and silence > 3 * publisher.HEARTBEAT_SECONDS:
                logger.warning("No heartbeat received from Redis for %.1f s", silence)
                await self._redis.connection_pool.disconnect()

    # --- Batches ----------------------------------------------------------------------------------

    def handle_batch(self, payload: bytes) -> None:
        """Deliver the messages of a batch, and report the batches that are missing before it.

        A batch that arrives after a later one is dropped: it was reported as lost.
        """
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        unpacker.feed(payload)
        source, is_to_all, number = next(unpacker)
        if source == self._process_id and is_to_all:
            return
        stream = (source, ALL if is_to_all else self._process_id)
        # Batches to all that were published before this process subscribed are not missing.
        last = self._numbers.get(stream, number - 1 if is_to_all else 0)
        if number <= last:
            return
        self._numbers[stream] = number
        if number > last + 1:
            self._report(source, "lost", [stream[1], last + 1, number - 1])
            self._receiver.messages_missed(source)
        for kind, *item in unpacker:
            try:
                self._handle(source, kind, item)
            except Exception:
                logger.exception("Could not handle a %r message of process %s", kind, source)

    def _handle(self, source: str, kind: str, item: list[Any]) -> None:
        match kind:
            case "channel":
                channel, message = item
                if not self._receiver.deliver(channel, message) and "reply_channel" in message:
                    self._report(source, "gone", [message["reply_channel"], channel])
            case "group":
                self._receiver.deliver_group(*item)
            case "gone":
                self._receiver.message_lost(*item)
            case "lost":
                self._publisher_for(source).report_lost(*item)

    def _report(self, target: str, kind: str, item: list[Any]) -> None:
        self._tasks.start(self._keep_reporting(target, msgpack.packb([kind, *item])))

    async def _keep_reporting(self, target: str, item: bytes) -> None:
        """Retry, because the other process may have lost its subscription in the same moment."""
        for attempt in range(REPORT_ATTEMPTS):
            try:
                await self._publisher_for(target).send(target, item)
                return
            except (ChannelFull, Undeliverable):
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
        logger.warning("Could not report lost messages to process %s", target)
