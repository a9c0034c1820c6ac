"""The channel layer of several processes."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
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
    kept. More: nothing is dropped in silence. A message with a ``reply_channel`` that is lost later is
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
        process, mark, _ = channel.partition("!")
        if not mark:
            await self._push(channel, message)
        elif process == member.local.prefix:
            member.local.put(channel, message)
        else:
            self.require_valid_channel_name(channel)
            await member.hub.send(process.rpartition(".")[2], channel, message)

    async def receive(self, channel: str) -> Message:
        if "!" in channel:
            return await self._member().local.receive(channel)
        return await self._pop(channel)

    async def new_channel(self, prefix: str | None = None) -> str:
        member = self._member()
        await member.hub.listen()
        return await member.local.new_channel()

    async def group_add(self, group: str, channel: str) -> None:
        await self._member().local.group_add(group, channel)

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
            await member.hub.close()

    def _member(self) -> Member:
        # By thread, for asking for the running loop costs a system call: this is for each message.
        member = self._by_thread.get(get_ident())
        if member is not None and member.loop.is_running():
            return member
        loop = asyncio.get_running_loop()
        member = self._members.get(loop)
        if member is None:
            member = self._members[loop] = Member(self)
        self._by_thread[get_ident()] = member
        return member

    # --- Named queues ------------------------------------------------------------------------

    async def _push(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        key = f"{self.prefix}:queue:{channel}"
        redis = self._member().queues(channel)
        if await redis.llen(key) >= self.get_capacity(channel):
            raise ChannelFull
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, msgpack.packb((time.time() + self.expiry, message)))
            pipeline.expire(key, int(self.expiry) + 1)
            await pipeline.execute()

    async def _pop(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        key = f"{self.prefix}:queue:{channel}"
        while True:
            found = await self._member().queues(channel).blpop([key], timeout=1)
            if found is not None:
                expires_at, message = msgpack.unpackb(found[1])
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

    def queues(self, channel: str) -> Any:
        """Return the client of the host that holds a named queue."""
        index = zlib.crc32(channel.encode()) % len(self.layer.hosts)
        if index not in self._queues:
            self._queues[index] = connect(self.layer.hosts[index], timeout=None)
        return self._queues[index]

    def _deliver(self, channel: str, message: Message) -> bool:
        if not self.local.knows(channel):
            return False
        try:
            self.local.put(channel, message)
        except ChannelFull:
            return False
        return True

    def _deliver_group(self, group: str, message: Message) -> None:
        try:
            self.local.put_group(group, message)
        except ChannelFull as error:
            logger.warning("a message to group %s was not delivered to all: %s", group, error)

    def _lost(self, sender: str, channel: str) -> None:
        if self.local.knows(sender):
            self.local.put(sender, {"type": "channel.lost", "channel": channel})

    def _missed(self, source: str) -> None:
        logger.warning("messages of process %s were missed", source)
        self.local.put_attached({"type": "channel.missed"})


def _host(host: Any) -> dict[str, Any]:
    if isinstance(host, dict):
        return host
    if isinstance(host, str):
        return {"address": host}
    name, port = host
    return {"address": f"redis://{name}:{port}"}
