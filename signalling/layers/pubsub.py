"""How the processes of a ``RedisChannelLayer`` reach each other: one pub/sub channel for each.

All that one turn of a process's event loop has for another process is packed into one PUBLISH, so the
price of Redis is paid by the batch and not by the message. Two streams arrive at a process, both from
the one Redis host that its id chooses: its own, and one that all processes of the host read (group
messages). Every batch carries its source and a number, hence

- order is kept for each pair of sender and receiver, over both streams;
- a PUBLISH that nobody heard is known at once (Redis returns the number of receivers), and a batch
  that Redis lost afterwards is known by the gap in the numbers: at the next batch, or at the next
  beat, which follows each batch within seconds. Either way the senders are told.
- a batch that comes after a later one is dropped: it was reported as lost.

What was reported as lost may have arrived all the same: a Redis that answers nothing for a while does
what it was told when it is back.

A Redis that is away closes nothing: the listener subscribes again as soon as it can, and says so.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgpack
from channels.exceptions import ChannelFull
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .exceptions import Undeliverable

logger = logging.getLogger("signalling.pubsub")

ALL = "all"
TELLS = 12  # attempts to tell a process what it has lost, in some 8 seconds
BEAT = msgpack.packb(["beat"])
BEAT_SECONDS = 2.0
REMEMBERED_SECONDS = 10.0
REMEMBERED_BATCHES = 20_000

Waiter = asyncio.Future[None]
Reply = tuple[str, str]  # the sender's channel, and the channel that the message was for


class Batch:
    """What one turn of the loop has for one target."""

    __slots__ = ("items", "replies", "target", "unattended", "waiters")

    def __init__(self, target: str) -> None:
        self.target = target
        self.items: list[bytes] = []
        self.replies: list[Reply] = []
        self.unattended: list[Reply] = []  # those of them that nobody waits for
        self.waiters: list[Waiter] = []

    def published(self) -> None:
        """Let the senders go on."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def failed(self, error: Exception) -> list[Reply]:
        """Tell the senders that wait, and return the others; nobody is told again when the gap is found."""
        self.replies.clear()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        return self.unattended


class Shard:
    """One Redis host: a connection that publishes and one that listens."""

    def __init__(self, hub: Hub, options: dict[str, Any]) -> None:
        self.hub = hub
        # One timer around a whole exchange is cheaper than the client's own around each part of it.
        self._publisher = _connection(options)
        self._subscriber = connect(options, timeout=None)
        self._batches: list[Batch] = []
        self._open: dict[str, Batch] = {}
        self._size = 0
        self._is_flushing = False
        self._is_away = False
        self._is_listening = False
        self._sent: dict[str, int] = {}
        self._spoken: dict[str, float] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._remembered: deque[tuple[float, str, int, list[Reply]]] = deque()
        self._heard_at = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()

    def start(self, *, is_own: bool) -> None:
        self._is_listening = is_own
        if is_own:
            self._spawn(self._keep_listening())
        self._spawn(self._keep_beating())

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        batches, self._batches, self._open, self._size = self._batches, [], {}, 0
        self._failed(batches, Undeliverable("the layer was closed"))
        await self._publisher.disconnect()
        await self._subscriber.aclose()

    # --- Out --------------------------------------------------------------------------------

    def post(self, target: str, item: bytes, reply: Reply | None = None) -> None:
        """Put an item into the target's batch, where nobody waits for it.

        Raises ``ChannelFull`` where more than the bound is waiting for Redis.
        """
        batch = self._add(target, item)
        if reply is not None:
            batch.replies.append(reply)
            batch.unattended.append(reply)

    def send(self, target: str, item: bytes, reply: Reply | None = None) -> Waiter:
        """The same, and return what ends when it is published, or with ``Undeliverable``."""
        batch = self._add(target, item)
        if reply is not None:
            batch.replies.append(reply)
        waiter = asyncio.get_running_loop().create_future()
        batch.waiters.append(waiter)
        return waiter

    def _add(self, target: str, item: bytes) -> Batch:
        if self._size + len(item) > self.hub.buffer_bytes:
            raise ChannelFull("too much is waiting for Redis")
        self._size += len(item)
        batch = self._batch(target)
        batch.items.append(item)
        if not self._is_flushing:
            self._is_flushing = True
            # A new task begins in the next turn, so it takes all that this turn still posts.
            self._spawn(self._flush())
        return batch

    def _batch(self, target: str) -> Batch:
        batch = self._open.get(target)
        if batch is not None and (target != ALL or self._batches[-1] is batch):
            return batch
        if target == ALL:
            # What follows must not overtake a message to all, nor it what went before.
            self._open.clear()
        batch = self._open[target] = Batch(target)
        self._batches.append(batch)
        return batch

    async def _flush(self) -> None:
        try:
            while self._batches:
                batches, self._batches, self._open, self._size = self._batches, [], {}, 0
                await self._publish(batches)
        finally:
            self._is_flushing = False

    async def _publish(self, batches: list[Batch]) -> None:
        commands = []
        for batch in batches:
            number = self._sent[batch.target] = self._sent.get(batch.target, 0) + 1
            head = msgpack.packb((self.hub.id, batch.target == ALL, number))
            payload = head + b"".join(batch.items)
            commands.append((b"PUBLISH", self.hub.redis_channel(batch.target), payload))
            self._remember(batch, number)
        try:
            receivers = await self._exchange(commands)
        except asyncio.CancelledError:
            self._failed(batches, Undeliverable("the layer was closed"))
            raise
        except Exception as error:  # whatever it is, nobody may be left waiting
            if not self._is_away:  # once for each outage, not for each batch
                logger.warning("Redis is away, and what is sent is lost: %r", error)
            self._is_away = True
            self._failed(batches, Undeliverable(str(error)))
            return
        if self._is_away:
            logger.warning("Redis is back")
        self._is_away = False
        for batch, count in zip(batches, receivers, strict=True):
            # Nobody needs to hear what is for all; but where this process listens, it does itself.
            if count or (batch.target == ALL and not self._is_listening):
                batch.published()
            else:
                self._failed([batch], Undeliverable(f"nobody hears {batch.target}"))

    async def _exchange(self, commands: list[tuple[bytes, str, bytes]]) -> list[int]:
        """Publish, and return how many processes heard each: one write, and one wait for all answers."""
        connection = self._publisher
        try:
            async with asyncio.timeout(self.hub.timeout):
                packed = connection.pack_commands(commands)
                await connection.send_packed_command(packed, check_health=False)
                return [await connection.read_response() for _ in commands]
        except BaseException:  # or an answer that comes late is taken for the next one's
            await connection.disconnect(nowait=True)
            raise

    def _failed(self, batches: list[Batch], error: Exception) -> None:
        for batch in batches:
            for sender, channel in batch.failed(error):
                self.hub.lost(sender, channel)

    def _remember(self, batch: Batch, number: int) -> None:
        now = time.monotonic()
        if batch.replies:
            self._remembered.append((now, batch.target, number, batch.replies))
            self._spoken[batch.target] = now
        while self._remembered and (
            self._remembered[0][0] < now - REMEMBERED_SECONDS
            or len(self._remembered) > REMEMBERED_BATCHES
        ):
            self._remembered.popleft()

    def report_lost(self, target: str, first: int, last: int) -> None:
        """Tell the senders of the target's batches ``first`` to ``last`` that they were lost."""
        for _, of, number, replies in self._remembered:
            if of == target and first <= number <= last:
                for sender, channel in replies:
                    self.hub.lost(sender, channel)

    # --- In ---------------------------------------------------------------------------------

    async def _keep_listening(self) -> None:
        wait = 0.05
        while True:
            try:
                await self._listen()
            except (RedisError, OSError, TimeoutError) as error:
                if self.ready.is_set():
                    logger.warning("lost the subscription to Redis: %s", error)
            except Exception:
                logger.exception("the listener failed and begins again")
            wait = 0.05 if self.ready.is_set() else min(wait * 2, 1.0)
            self.ready.clear()
            await asyncio.sleep(wait)

    async def _listen(self) -> None:
        own = self.hub.redis_channel(self.hub.id)
        async with self._subscriber.pubsub() as pubsub:
            async with asyncio.timeout(self.hub.timeout):
                await pubsub.subscribe(own, self.hub.redis_channel(ALL))
                for _ in range(2):  # both are confirmed before anybody may rely on them
                    await pubsub.parse_response(block=True)
            self._heard_at = time.monotonic()
            self.ready.set()
            if self._seen:
                logger.warning("subscribed to Redis again")
                self._beat()  # others may have missed something of this process, too
                self.hub.missed("any")
            connection = pubsub.connection
            while True:
                kind, _, payload = await connection.read_response(disable_decoding=True)
                if kind == b"message":
                    self._heard_at = time.monotonic()
                    self._read(payload)

    def _read(self, payload: bytes) -> None:
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
        unpacker.feed(payload)
        source, is_to_all, number = next(unpacker)
        if source == self.hub.id and is_to_all:
            return
        stream = (source, ALL if is_to_all else self.hub.id)
        # What came before the first batch to all was before this process's time.
        last = self._seen.get(stream, number - 1 if is_to_all else 0)
        if number <= last:
            return
        self._seen[stream] = number
        if number > last + 1:
            self._tell(source, "lost", [stream[1], last + 1, number - 1])
            self.hub.missed(source)
        for kind, *item in unpacker:
            try:
                self._handle(source, kind, item)
            except Exception:
                logger.exception("a %s of process %s failed", kind, source)

    def _handle(self, source: str, kind: str, item: list[Any]) -> None:
        match kind:
            case "channel":
                channel, message = item
                if not self.hub.deliver(channel, message) and "reply_channel" in message:
                    self._tell(source, "gone", [message["reply_channel"], channel])
            case "group":
                self.hub.deliver_group(*item)
            case "gone":
                self.hub.lost(*item)
            case "lost":
                self.hub.shard_of(source).report_lost(*item)

    def _tell(self, target: str, kind: str, item: list[Any]) -> None:
        self._spawn(self._keep_telling(target, msgpack.packb([kind, *item])))

    async def _keep_telling(self, target: str, item: bytes) -> None:
        """Tell a process what was lost; it may have lost its own subscription just now, too."""
        shard = self.hub.shard_of(target)
        for attempt in range(TELLS):
            try:
                await shard.send(target, item)
                return
            except (ChannelFull, Undeliverable):
                await asyncio.sleep(min(0.05 * 2**attempt, 1.0))
        logger.warning("could not tell process %s what was lost", target)

    async def _keep_beating(self) -> None:
        """A message to all, oneself too: what was lost is noticed, and a dead subscription is."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self._beat()
            if self.ready.is_set() and time.monotonic() - self._heard_at > 3 * BEAT_SECONDS:
                logger.warning("nothing was heard from Redis for too long")
                await self._subscriber.connection_pool.disconnect()

    def _beat(self) -> None:
        now = time.monotonic()
        for target, spoken_at in tuple(self._spoken.items()):
            if spoken_at < now - REMEMBERED_SECONDS:
                del self._spoken[target]
        for target in (ALL, *self._spoken):
            with suppress(ChannelFull):
                self.post(target, BEAT)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Hub:
    """One process, or rather one event loop of it, among the processes of a layer."""

    def __init__(
        self,
        *,
        prefix: str,
        hosts: Iterable[dict[str, Any]],
        timeout: float,
        buffer_bytes: int,
        deliver: Callable[[str, dict[str, Any]], bool],
        deliver_group: Callable[[str, dict[str, Any]], None],
        lost: Callable[[str, str], None],
        missed: Callable[[str], None],
    ) -> None:
        self.id = secrets.token_hex(6)
        self.prefix = prefix
        self.timeout = timeout
        self.buffer_bytes = buffer_bytes
        self.deliver = deliver
        self.deliver_group = deliver_group
        self.lost = lost
        self.missed = missed
        self.shards = [Shard(self, options) for options in hosts]
        self.own_shard = self.shard_of(self.id)
        self._is_listening = False

    async def listen(self) -> None:
        """Return once this process hears the others; raises ``Undeliverable`` where it cannot."""
        if not self._is_listening:
            self._is_listening = True
            for shard in self.shards:
                shard.start(is_own=shard is self.own_shard)
        try:
            async with asyncio.timeout(self.timeout):
                await self.own_shard.ready.wait()
        except TimeoutError:
            raise Undeliverable("Redis is away") from None

    async def send(self, target: str, channel: str, message: dict[str, Any]) -> None:
        await self.shard_of(target).send(target, *_packed(channel, message))

    def put(self, target: str, channel: str, message: dict[str, Any]) -> None:
        self.shard_of(target).post(target, *_packed(channel, message))

    async def send_to_all(self, group: str, message: dict[str, Any]) -> None:
        item = msgpack.packb(["group", group, message])
        await asyncio.gather(*(shard.send(ALL, item) for shard in self.shards))

    def shard_of(self, target: str) -> Shard:
        return self.shards[zlib.crc32(target.encode()) % len(self.shards)]

    def redis_channel(self, target: str) -> str:
        return f"{self.prefix}:{target}"

    async def close(self) -> None:
        for shard in self.shards:
            await shard.close()


def connect(options: dict[str, Any], timeout: float | None) -> Redis:
    """Return a client. Nothing is sent twice: whether a lost PUBLISH was heard cannot be known."""
    options = dict(options)
    url = options.pop("address", "redis://localhost:6379")
    settings: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout or 2.0,
        "retry": Retry(NoBackoff(), 0),
        **options,
    }
    return Redis.from_url(url, **settings)


def _packed(channel: str, message: dict[str, Any]) -> tuple[bytes, Reply | None]:
    sender = message.get("reply_channel")
    return msgpack.packb(["channel", channel, message]), (sender, channel) if sender else None


def _connection(options: dict[str, Any]) -> Any:
    """Return a connection of one's own, which connects by itself when it is used."""
    return connect(options, timeout=None).connection_pool.make_connection()  # type: ignore[no-untyped-call]
