"""The channel layer for several processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

from channels.layers import BaseChannelLayer

from .connections import connect, host_options
from .local import Deliver, Message
from .loop_layer import RedisLoopLayer
from .namespaces import site_namespaces

logger = logging.getLogger("signalling.layers")


class RedisChannelLayer(BaseChannelLayer):
    """The channel layer for several processes; the package's documentation describes both layers.

    Groups are kept where their members are: ``group_add`` needs no network, and ``group_send`` goes
    to every process, which delivers it to its own members. A channel name without ``!`` is a queue
    in Redis, read by whichever process receives first, as in ``channels_redis``.

    Less than ``channels_redis.core``: a message to a process that is unavailable raises
    ``Undeliverable`` instead of being kept, and only channels from ``new_channel`` can join groups.

    More: no message is dropped silently. A message with a ``reply_channel`` that is lost after
    ``send`` has returned is reported there as ``{"type": "channel.lost", "channel": …}``, and one
    that the channel's consumer has refused as ``{"type": "channel.refused", "channel": …}``. If a
    process missed messages, each of its attached channels receives ``{"type": "channel.missed"}``.
    """

    extensions = ("groups", "flush")

    def __init__(
        self,
        hosts: list[Any] | None = None,
        prefix: str | None = None,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
        timeout: float = 2.0,
        buffer_bytes: int = 8 * 1024 * 1024,
        signing_keys: Sequence[str | bytes] | None = None,
    ) -> None:
        """Configure the layer; it connects when it is first used.

        - ``hosts``: Redis URLs (``redis``, ``rediss``, ``unix``), ``(host, port)`` pairs, or dicts
          of redis-py options with the URL as ``address``. Processes are spread over them.
        - ``prefix``: the prefix of all names in Redis. By default it comes from ``SECRET_KEY`` and
          the database numbers, so that no other site has it.
        - ``expiry``, ``group_expiry``, ``capacity``, ``channel_capacity``: as in
          ``LocalChannelLayer``.
        - ``timeout``: seconds after which Redis counts as unavailable.
        - ``buffer_bytes``: how much may wait for each host before ``ChannelFull`` is raised.
        - ``signing_keys``: sign all that is stored in Redis, and accept only what is signed with one
          of these. By default ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``; ``[]`` for no signatures.
        """
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.hosts = [host_options(host) for host in hosts or ["redis://localhost:6379"]]
        self.namespaces = site_namespaces(self.hosts, prefix, signing_keys)
        self.prefix = self.namespaces[0].prefix
        self.timeout = timeout
        self.buffer_bytes = buffer_bytes
        self._loop_layers: WeakKeyDictionary[asyncio.AbstractEventLoop, RedisLoopLayer] = (
            WeakKeyDictionary()
        )
        self._by_thread: dict[int, RedisLoopLayer] = {}

    # --- The channel layer specification ----------------------------------------------------------

    async def send(self, channel: str, message: Message) -> None:
        """Send a message to a channel.

        Raises ``ChannelFull`` (``ChannelGone``) and ``Undeliverable``.
        """
        layer = self._loop_layer()
        if channel in layer.local.channels:
            layer.local.put(channel, message)
            return
        self.require_valid_channel_name(channel)
        if not isinstance(message, dict):
            raise TypeError("A message of a channel layer must be a dict.")
        target = layer.target(channel)
        if target is None:
            await layer.queues.push(channel, message, self.get_capacity(channel))
        elif target == layer.bus.id:
            layer.local.put(channel, message)
        else:
            await layer.bus.send(target, channel, message)

    async def receive(self, channel: str) -> Message:
        """Wait for the next message of a channel and return it."""
        if "!" in channel:
            return await self._loop_layer().local.receive(channel)
        self.require_valid_channel_name(channel)
        return await self._loop_layer().queues.pop(channel)

    async def new_channel(self, prefix: str | None = None) -> str:
        """Return a new channel name of this process.

        Raises ``Undeliverable`` if Redis is unavailable.
        """
        await self.subscribed()
        layer = self._loop_layer()
        return await layer.local.new_channel(f"{prefix or self.prefix}.{layer.bus.id}")

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group.

        Raises ``ValueError`` unless it comes from ``new_channel`` here.
        """
        layer = self._loop_layer()
        self.require_valid_channel_name(channel)
        if layer.target(channel) != layer.bus.id:
            raise ValueError(f"{channel} is not a channel of this process")
        await layer.local.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, if it is a member."""
        await self._loop_layer().local.group_discard(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        """Send a message to all members. Raises ``ChannelFull`` and ``Undeliverable``.

        Raises after all other members have been served.
        """
        self.require_valid_group_name(group)
        layer = self._loop_layer()
        try:
            layer.local.put_group(group, message)
        finally:
            await layer.bus.send_to_all(group, message)

    async def flush(self) -> None:
        """Remove waiting messages here and in named queues; other processes keep their groups."""
        await self._loop_layer().local.flush()
        for host in self.hosts:
            async with connect(host, timeout=self.timeout) as redis:
                for namespace in self.namespaces:
                    async for key in redis.scan_iter(match=namespace.queue("*")):
                        await redis.delete(key)

    # --- Beyond the specification ---------------------------------------------------------------

    def put(self, channel: str, message: Message) -> None:
        """Send to a channel from ``new_channel`` without waiting.

        Raises ``ChannelFull`` and, for a named queue, ``ValueError``. A message that does not reach
        another process is reported to its ``reply_channel``, like one that is lost later.
        """
        layer = self._loop_layer()
        if channel in layer.local.channels:
            layer.local.put(channel, message)
            return
        target = layer.target(channel)
        if target is None:
            raise ValueError(f"{channel} is a named queue: use send")
        if target == layer.bus.id:
            layer.local.put(channel, message)
        else:
            layer.bus.put(target, channel, message)

    async def subscribed(self) -> None:
        """Return once this process receives messages. Raises ``Undeliverable`` after the timeout."""
        await self._loop_layer().bus.subscribe()

    async def finish(self) -> None:
        """Receive what is on its way to this process, then nothing more, before the process ends.

        Messages to channels that no longer exist are reported to their senders. Later ones raise
        ``Undeliverable`` there. Takes at most twice the timeout.
        """
        layer = self._loop_layers.get(asyncio.get_running_loop())
        if layer is not None:
            await layer.bus.finish()

    def attach(self, channel: str, deliver: Deliver) -> None:
        """As ``LocalChannelLayer.attach``."""
        self._loop_layer().local.attach(channel, deliver)

    def detach(self, channel: str) -> None:
        """As ``LocalChannelLayer.detach``."""
        self._loop_layer().local.detach(channel)

    async def close(self) -> None:
        """Disconnect the running event loop from Redis.

        For tests, and for loops that end before their process does.
        """
        self._by_thread.pop(get_ident(), None)
        layer = self._loop_layers.pop(asyncio.get_running_loop(), None)
        if layer is not None:
            await layer.close()

    def _loop_layer(self) -> RedisLoopLayer:
        # Looked up by thread for every message: asking for the running loop costs a system call.
        layer = self._by_thread.get(get_ident())
        if layer is not None and layer.loop.is_running():
            return layer
        loop = asyncio.get_running_loop()
        layer = self._loop_layers.get(loop)
        if layer is None:
            layer = self._loop_layers[loop] = RedisLoopLayer(
                hosts=self.hosts,
                namespaces=self.namespaces,
                expiry=self.expiry,
                group_expiry=self.group_expiry,
                capacity=self.capacity,
                channel_capacity=self.channel_capacity,
                timeout=self.timeout,
                buffer_bytes=self.buffer_bytes,
            )
            _close_with(loop, self)
        self._by_thread[get_ident()] = layer
        return layer


def _close_with(loop: asyncio.AbstractEventLoop, layer: RedisChannelLayer) -> None:
    """Disconnect when the loop is closed: each ``async_to_sync`` in a thread runs its own loop."""
    close = loop.close

    def close_both() -> None:
        if not loop.is_closed() and not loop.is_running():
            try:
                loop.run_until_complete(layer.close())
            except Exception as error:
                logger.warning(
                    "Could not disconnect from Redis: %s: %s", type(error).__name__, error
                )
        close()

    loop.close = close_both  # type: ignore[method-assign]
