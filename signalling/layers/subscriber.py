"""Receives the messages of other processes from the Redis host of this process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol

import msgpack
from channels.exceptions import ChannelFull
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from . import drops, publisher
from .connections import ALL, connect
from .exceptions import Undeliverable
from .namespaces import Namespace, Refused
from .numbers import NOTHING, BatchNumbers
from .publisher import Publisher
from .tasks import BackgroundTasks

logger = logging.getLogger("signalling.pubsub")

REPORT_ATTEMPTS = 12
"""Attempts to report lost messages to their process, within about 8 seconds."""
MAX_REPORTS = 1000
"""Reports that may wait at the same time."""
MAX_AGE_SECONDS = 300
"""Maximum age of the first batch from a process. Clocks may differ by as much."""
MAX_ID_LENGTH = 64
FIELDS: dict[str, tuple[type, ...]] = {
    "beat": (),
    "channel": (str, dict),
    "group": (str, dict),
    "gone": (str, str),
    "full": (str, str),
    "lost": (str, int, int),
}
"""The kinds of messages in a batch, and the types of their fields."""


Undelivered = Literal["gone", "full"]
"""Why a channel did not take a message. Earlier builds send "gone" for both."""


class Receiver(Protocol):
    """Handles what a ``Subscriber`` receives."""

    def deliver(self, channel: str, message: dict[str, Any]) -> Undelivered | None:
        """Deliver a message to a channel; return the reason if the channel does not take it.

        Raises ``Refused`` if the channel is not one of this process.
        """

    def deliver_group(self, group: str, message: dict[str, Any]) -> None:
        """Deliver a message to the members of a group in this process."""

    def message_lost(self, sender: str, channel: str) -> None:
        """Notify the channel ``sender`` that its message to ``channel`` was lost."""

    def message_refused(self, sender: str, channel: str) -> None:
        """Notify the channel ``sender`` that ``channel`` was full and refused its message."""

    def messages_missed(self, source: str) -> None:
        """Notify all channels that messages from the process ``source`` did not arrive."""


class Subscriber:
    """Subscribes to the channels of this process and to those for all processes.

    ``publisher_for`` returns the publisher for the host that a process is subscribed on.
    """

    def __init__(
        self,
        options: dict[str, Any],
        *,
        process_id: str,
        namespaces: Sequence[Namespace],
        timeout: float,
        receiver: Receiver,
        publisher_for: Callable[[str], Publisher],
    ) -> None:
        self.ready = asyncio.Event()
        """Set while Redis has confirmed all subscriptions."""
        self._process_id = process_id
        self._addresses = {
            namespace.channel(target).encode(): (namespace, namespace.channel(target), target)
            for namespace in namespaces
            for target in (process_id, ALL)
        }
        """The subscribed Redis channels: their namespaces, names and targets."""
        self._copies = len(namespaces)
        """How many copies of each batch may arrive."""
        self._timeout = timeout
        self._receiver = receiver
        self._publisher_for = publisher_for
        self._redis = connect(options, timeout=None)
        self._numbers = BatchNumbers()
        self._received_at = self._checked_at = time.monotonic()
        self._tasks = BackgroundTasks()
        self._reports = BackgroundTasks()
        self._subscription: asyncio.Task[None] | None = None
        self._pubsub: PubSub | None = None
        self._is_finishing = False

    def start(self) -> None:
        self._subscription = self._tasks.start(self._keep_subscribed())
        self._tasks.start(self._check_heartbeats())

    async def finish(self) -> None:
        """Handle all that has been published for this process, and unsubscribe.

        From then on, a message for this process fails where it is sent. Returns when what was
        refused here has been reported, at the latest after twice the timeout.
        """
        self._is_finishing = True
        if self._subscription is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await self._unsubscribe()
                    await asyncio.wait([self._subscription])
        await self._reports.wait(self._timeout)

    async def close(self) -> None:
        await self._tasks.cancel()
        await self._reports.cancel()
        await self._redis.aclose()

    # --- The subscription -------------------------------------------------------------------------

    async def _keep_subscribed(self) -> None:
        wait = 0.05
        while not self._is_finishing:
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
                await pubsub.subscribe(*self._addresses)
                for _ in self._addresses:  # nothing may be sent here before all are confirmed
                    await pubsub.parse_response(block=True)
            self._received_at = time.monotonic()
            self.ready.set()
            if self._numbers:
                logger.warning("Subscribed to Redis again")
                # Other processes may have missed batches of this one too.
                self._publisher_for(self._process_id).send_heartbeat()
                self._receiver.messages_missed("any")
            self._pubsub = pubsub
            connection = pubsub.connection
            while True:
                kind, address, payload = await connection.read_response(disable_decoding=True)
                if kind == b"message":
                    self.receive(address, payload)
                elif kind == b"unsubscribe" and payload == 0:  # the last one; nothing follows
                    return

    async def _unsubscribe(self) -> None:
        if self.ready.is_set() and self._pubsub is not None:
            with suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(*self._addresses)

    async def _check_heartbeats(self) -> None:
        """Reconnect if this process does not receive its own heartbeats."""
        while True:
            await asyncio.sleep(publisher.HEARTBEAT_SECONDS)
            silence = self._silence(time.monotonic())
            if self.ready.is_set() and silence > 3 * publisher.HEARTBEAT_SECONDS:
                logger.warning("No heartbeat received from Redis for %.1f s", silence)
                await self._redis.connection_pool.disconnect()

    def _silence(self, now: float) -> float:
        """Return for how many seconds this process could have received something, and did not.

        A process that was suspended has not listened. What arrived in the meantime waits to be
        read; to reconnect would drop it.
        """
        if now - self._checked_at > 2 * publisher.HEARTBEAT_SECONDS:
            self._received_at = now
        self._checked_at = now
        return now - self._received_at

    # --- Batches ----------------------------------------------------------------------------------

    def receive(self, address: bytes, payload: bytes) -> None:
        """Deliver the messages of a batch, and report the batches that are missing before it.

        Never raises: a payload that cannot be used is dropped and counted. So is a batch that
        arrives after a later one: it was reported as lost.
        """
        try:
            namespace, name, target = self._addresses[address]
            self._receive(namespace.open(name, payload), target)
        except Refused as refusal:
            drops.bus.add(refusal.reason, "Dropped a payload from Redis: %s", refusal)
        except Exception as error:
            kind = type(error).__name__  # its text may contain the payload
            drops.bus.add("malformed", "Dropped a malformed payload from Redis: %s", kind)

    def _receive(self, body: bytes, target: str) -> None:
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=len(body) or 1)
        unpacker.feed(body)
        head = next(unpacker)  # a later build may add fields
        source, number, sent_at = head[0], head[1], head[2]
        if not _is_source(source) or type(number) is not int or number < 1:
            raise Refused("malformed", "wrong head")
        self._received_at = now = time.monotonic()
        if source == self._process_id and target == ALL:
            return
        stream = (source, target)
        last = self._numbers.last(stream)
        if last is None:
            if target == ALL and abs(time.time() - sent_at) > MAX_AGE_SECONDS:
                raise Refused("stale", f"process {source!r} has another time, or this is a replay")
            # Batches to all that were published before this process subscribed are not missing.
            self._numbers.begin(stream, number - 1 if target == ALL else 0)
        missing = self._numbers.accept(stream, number, now)
        if missing is None:
            if number != last or self._copies == 1:
                raise Refused("number", f"number {number} of process {source!r} after {last}")
            return
        if missing is not NOTHING:
            self.report(source, "lost", [target, *missing])
            self._receiver.messages_missed(source)
        for item in unpacker:
            try:
                self._handle(source, item)
            except Refused as refusal:
                drops.bus.add(refusal.reason, "Dropped a message from Redis: %s", refusal)
            except Exception:
                if _is_well_formed(item):
                    drops.bus.add("failed", "Could not handle a message from Redis", exc_info=True)
                else:
                    drops.bus.add("malformed", "Dropped a malformed message from Redis")

    def _handle(self, source: str, item: Any) -> None:
        kind = item[0]
        if kind == "channel":
            channel, message = item[1], item[2]
            if type(channel) is not str or type(message) is not dict:
                raise Refused("malformed", "no channel or no message")
            reason = self._receiver.deliver(channel, message)
            if reason is not None and "reply_channel" in message:
                self.report(source, reason, [message["reply_channel"], channel])
        elif kind not in FIELDS or not _is_well_formed(item):
            is_unknown = _is_well_formed(item)
            raise Refused("unknown_kind" if is_unknown else "malformed", "it is of another build")
        elif kind == "group":
            self._receiver.deliver_group(item[1], item[2])
        elif kind == "gone":
            self._receiver.message_lost(item[1], item[2])
        elif kind == "full":
            self._receiver.message_refused(item[1], item[2])
        elif kind == "lost":
            self._publisher_for(source).report_lost(*item[1:4])

    def report(self, target: str, kind: str, item: list[Any]) -> None:
        """Send a report to another process, for some seconds until Redis has taken it."""
        if len(self._reports) > MAX_REPORTS:
            drops.bus.add("report", "Too many lost messages to report them to process %r", target)
            return
        self._reports.start(self._keep_reporting(target, msgpack.packb([kind, *item])))

    async def _keep_reporting(self, target: str, item: bytes) -> None:
        """Retry, because the other process may have lost its subscription in the same moment."""
        for attempt in range(REPORT_ATTEMPTS):
            try:
                await self._publisher_for(target).send(target, item)
                return
            except (ChannelFull, Undeliverable):
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
        drops.bus.add("report", "Could not report lost messages to process %r", target)


def _is_source(source: Any) -> bool:
    return type(source) is str and 0 < len(source) <= MAX_ID_LENGTH and source != ALL


def _is_well_formed(item: Any) -> bool:
    """Return whether a message has the fields of its kind. A later build may add fields."""
    if not isinstance(item, list) or not item or not isinstance(item[0], str):
        return False
    fields = FIELDS.get(item[0], ())
    return len(item) > len(fields) and all(map(isinstance, item[1:], fields))
