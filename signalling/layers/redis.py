"""The channel layer of several processes."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from contextlib import suppress
from threading import get_ident
from typing import Any, cast
from weakref import WeakKeyDictionary

import msgpack
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from .local import Deliver, LocalChannelLayer, Message
from .pubsub import Hub, connect

logger = logging.getLogger("signalling.layers")


class RedisChannelLayer(BaseChannelLayer):
    """The channel layer of several processes; what the package says of both holds.

    Groups are held where their members are: ``group_add`` asks nobody, and ``group_send`` goes to every
    process, which passes it to its own members. A name without ``!`` is a queue in Redis that whichever
    process receives first takes from, as with the stock layer.

    Less than the stock core layer: a message to a process that is away is an ``Undeliverable`` and not
    kept, and only channels of ``new_channel`` may be members of groups.

    More: nothing is dropped in silence. A message with a ``reply_channel`` that is lost later is
    reported there as ``{"type": "channel.lost", "channel": …}``, and every attached channel of a process
    that missed something hears ``{"type": "channel.missed"}``.
    """

    extensions = ("groups", "flush")

    def __init__(
        self,
        hosts: list[Any] | None = None,
        prefix: str = "signalling",
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
        timeout: float = 2.0,
        buffer_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        """``hosts``: Redis URLs (``redis``, ``rediss``, ``unix``), ``(host, port)`` pairs, or dicts of
        redis-py options with the URL as ``address``; processes are spread over them.

        ``timeout``: seconds after which Redis is taken to be away; ``buffer_bytes``: what may wait for it.
        """
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.prefix = prefix
        self.hosts = [_host(host) for host in hosts or ["redis://localhost:6379"]]
        self.timeout = timeout
        self.buffer_bytes = buffer_bytes
        self._members: WeakKeyDictionary[asyncio.AbstractEventLoop, Member] = WeakKeyDictionary()
        self._by_thread: dict[int, Member] = {}

    # --- The channel layer specification ----------------------------------------------------

    async def send(self, channel: str, message: Message) -> None:
        member = self._member()
        if channel in member.local.channels:
            member.local.put(channel, message)
            return
        self.require_valid_channel_name(channel)
        if not isinstance(message, dict):
            raise TypeError("A message of a channel layer is a dict.")
        target = member.target(channel)
        if target is None:
            await self._push(channel, message)
        elif target == member.hub.id:
            member.local.put(channel, message)
        else:
            await member.hub.send(target, channel, message)

    async def receive(self, channel: str) -> Message:
        if "!" in channel:
            return await self._member().local.receive(channel)
        return await self._pop(channel)

    async def new_channel(self, prefix: str | None = None) -> str:
        member = self._member()
        await member.hub.listen()
        return await member.local.new_channel(f"{prefix or self.prefix}.{member.hub.id}")

    async def group_add(self, group: str, channel: str) -> None:
        """Raises ``ValueError`` for what is no channel of this process's ``new_channel``."""
        member = self._member()
        self.require_valid_channel_name(channel)
        if member.target(channel) != member.hub.id:
            raise ValueError(f"{channel} is no channel of this process")
        await member.local.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._member().local.group_discard(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        member = self._member()
        try:
            member.local.put_group(group, message)
        finally:
            await member.hub.send_to_all(group, message)

    async def flush(self) -> None:
        """Forget what waits here and in the named queues; other processes keep their members."""
        member = self._member()
        await member.local.flush()
        for shard in self.hosts:
            async with connect(shard, timeout=self.timeout) as redis:
                async for key in redis.scan_iter(match=f"{self.prefix}:queue:*"):
                    await redis.delete(key)

    # --- Beyond it ---------------------------------------------------------------------------

    def put(self, channel: str, message: Message) -> None:
        """``send`` to a channel of ``new_channel`` that waits for nobody.

        What does not reach another process is reported to its ``reply_channel``, as what is lost later.
        """
        member = self._member()
        if channel in member.local.channels:
            member.local.put(channel, message)
            return
        target = member.target(channel)
        if target is None:
            raise ValueError(f"{channel} is no channel of new_channel: send to it")
        if target == member.hub.id:
            member.local.put(channel, message)
        else:
            member.hub.put(target, channel, message)

    def attach(self, channel: str, deliver: Deliver) -> None:
        """As ``LocalChannelLayer.attach``."""
        self._member().local.attach(channel, deliver)

    def detach(self, channel: str) -> None:
        """As ``LocalChannelLayer.detach``."""
        self._member().local.detach(channel)

    async def close(self) -> None:
        """Leave Redis; for tests, and for a loop that ends before its process does."""
        self._by_thread.pop(get_ident(), None)
        member = self._members.pop(asyncio.get_running_loop(), None)
        if member is not None:
            await member.close()

    def _member(self) -> Member:
        # By thread, for asking for the running loop costs a system call: this is for each message.
        member = self._by_thread.get(get_ident())
        if member is not None and member.loop.is_running():
            return member
        loop = asyncio.get_running_loop()
        member = self._members.get(loop)
        if member is None:
            member = self._members[loop] = Member(self)
            _close_with(loop, self)
        self._by_thread[get_ident()] = member
        return member

    # --- Named queues ------------------------------------------------------------------------

    async def _push(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        key = f"{self.prefix}:queue:{channel}"
        redis = self._member().queues(channel)
        while await redis.llen(key) >= self.get_capacity(channel):
            oldest = await redis.lindex(key, 0)
            if oldest is not None and _unpack(oldest)[0] > time.time():
                raise ChannelFull
            if oldest is not None:
                await redis.lrem(key, 1, oldest)
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, msgpack.packb((time.time() + self.expiry, message)))
            pipeline.expire(key, int(self.expiry) + 1)
            await pipeline.execute()

    async def _pop(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        key = f"{self.prefix}:queue:{channel}"
        member = self._member()
        while True:
            taking = member.resume(key) or asyncio.ensure_future(
                member.queues(channel).blpop([key], timeout=1)
            )
            try:
                found = await asyncio.shield(taking)
            except asyncio.CancelledError:  # Redis may have given away the message already
                member.interrupt(key, taking, member.queues(channel))
                raise
            if found is not None:
                expires_at, message = _unpack(found[1])
                if expires_at > time.time():
                    return cast(Message, message)


class Member:
    """One event loop's part in a ``RedisChannelLayer``: its own channels, and its way to the others."""

    def __init__(self, layer: RedisChannelLayer) -> None:
        self.layer = layer
        self.loop = asyncio.get_running_loop()
        self.hub = Hub(
            prefix=layer.prefix,
            hosts=layer.hosts,
            timeout=layer.timeout,
            buffer_bytes=layer.buffer_bytes,
            deliver=self._deliver,
            deliver_group=self._deliver_group,
            lost=self._lost,
            missed=self._missed,
        )
        self.local = LocalChannelLayer(
            expiry=layer.expiry,
            group_expiry=layer.group_expiry,
            capacity=layer.capacity,
            prefix=f"{layer.prefix}.{self.hub.id}",
        )
        self.local.channel_capacity = layer.channel_capacity
        self._queues: dict[int, Any] = {}
        self._interrupted: dict[str, list[asyncio.Future[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.layer.timeout)
        for task in self._tasks:
            task.cancel()
        await self.hub.close()
        for redis in self._queues.values():
            await redis.aclose()

    def target(self, channel: str) -> str | None:
        """Return the id of a channel's process; none for a named queue."""
        process, mark, _ = channel.partition("!")
        return process.rpartition(".")[2] if mark else None

    def queues(self, channel: str) -> Any:
        """Return the client of the host that holds a named queue."""
        index = zlib.crc32(channel.encode()) % len(self.layer.hosts)
        if index not in self._queues:
            self._queues[index] = connect(self.layer.hosts[index], timeout=None)
        return self._queues[index]

    def resume(self, key: str) -> asyncio.Future[Any] | None:
        """Return a take from a named queue whose receiver was cancelled, for the next receiver."""
        takes = self._interrupted.get(key)
        return takes.pop(0) if takes else None

    def interrupt(self, key: str, taking: asyncio.Future[Any], redis: Any) -> None:
        """Keep a take for the next receiver; what it brings before one comes goes back to the queue."""
        self._interrupted.setdefault(key, []).append(taking)
        task = asyncio.ensure_future(self._give_back(key, taking, redis))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_back(self, key: str, taking: asyncio.Future[Any], redis: Any) -> None:
        await asyncio.wait([taking])
        takes = self._interrupted.get(key, [])
        if taking in takes:
            takes.remove(taking)
            if not takes:
                del self._interrupted[key]
            if taking.exception() is None and taking.result() is not None:
                await redis.lpush(key, taking.result()[1])

    def _deliver(self, channel: str, message: Message) -> bool:
        try:
            self.local.put(channel, message)
        except ChannelFull:
            logger.warning("a channel is full or gone, its sender is in another process")
            return False
        return True

    def _deliver_group(self, group: str, message: Message) -> None:
        try:
            self.local.put_group(group, message)
        except ChannelFull as error:
            logger.warning("a message to group %s was not delivered to all: %s", group, error)

    def _lost(self, sender: str, channel: str) -> None:
        with suppress(ChannelFull):
            self.local.put(sender, {"type": "channel.lost", "channel": channel})

    def _missed(self, source: str) -> None:
        logger.warning("messages of process %s were missed", source)
        self.local.put_attached({"type": "channel.missed"})


def _unpack(item: bytes) -> Any:
    return msgpack.unpackb(item, strict_map_key=False)


def _close_with(loop: asyncio.AbstractEventLoop, layer: RedisChannelLayer) -> None:
    """Leave Redis when a loop is closed: each ``async_to_sync`` of a thread has a loop of its own."""
    close = loop.close

    def close_both() -> None:
        if not loop.is_closed() and not loop.is_running():
            try:
                loop.run_until_complete(layer.close())
            except Exception as error:
                logger.warning("could not leave Redis: %r", error)
        close()

    loop.close = close_both  # type: ignore[method-assign]


def _host(host: Any) -> dict[str, Any]:
    if isinstance(host, dict):
        return host
    if isinstance(host, str):
        return {"address": host}
    name, port = host
    return {"address": f"redis://{name}:{port}"}
