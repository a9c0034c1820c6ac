"""Queues in Redis for channels without ``!`` in their name, shared by all processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgpack
from channels.exceptions import ChannelFull

from . import drops
from .connections import connect, host_index
from .local import Message
from .namespaces import Namespace, Refused
from .tasks import BackgroundTasks


class NamedQueues:
    """The queues as seen by one event loop.

    A queue is a Redis list on the host that its name selects. Messages are pushed in the first of
    the ``namespaces`` and popped in all of them.
    """

    def __init__(
        self, hosts: list[dict[str, Any]], *, namespaces: Sequence[Namespace], expiry: float
    ) -> None:
        self._hosts = hosts
        self._namespaces = namespaces
        self._expiry = expiry
        self._clients: dict[int, Any] = {}
        self._interrupted: dict[str, list[asyncio.Future[Any]]] = {}
        """Pending pops whose receivers were cancelled."""
        self._tasks = BackgroundTasks()

    async def push(self, channel: str, message: Message, capacity: int) -> None:
        """Append a message. Raises ``ChannelFull`` if ``capacity`` messages wait already."""
        namespace, redis = self._namespaces[0], self._client(channel)
        key = namespace.queue(channel)
        while await redis.llen(key) >= capacity:
            oldest = await redis.lindex(key, 0)
            if oldest is not None and _unpack(namespace, key, oldest) is not None:
                raise ChannelFull
            if oldest is not None:
                await redis.lrem(key, 1, oldest)
        body = msgpack.packb((time.time() + self._expiry, message))
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, namespace.seal(key, body))
            pipeline.expire(key, int(self._expiry) + 1)
            await pipeline.execute()

    async def pop(self, channel: str) -> Message:
        """Wait for the next message that has not expired, remove it and return it.

        An item that is not valid is dropped and counted.
        """
        queues = {namespace.queue(channel): namespace for namespace in self._namespaces}
        redis = self._client(channel)
        while True:
            pending = self._resume(channel) or asyncio.ensure_future(
                redis.blpop([*queues], timeout=1)
            )
            try:
                found = await asyncio.shield(pending)
            except asyncio.CancelledError:  # Redis may have removed the message already
                self._interrupt(channel, pending, redis)
                raise
            if found is not None:
                key = found[0].decode()
                message = _unpack(queues[key], key, found[1])
                if message is not None:
                    return message

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109
        """Disconnect, at most ``timeout`` seconds after pending pops have been put back."""
        await self._tasks.wait(timeout)
        await self._tasks.cancel()
        for redis in self._clients.values():
            await redis.aclose()

    def _client(self, channel: str) -> Any:
        index = host_index(channel, len(self._hosts))
        if index not in self._clients:
            self._clients[index] = connect(self._hosts[index], timeout=None)
        return self._clients[index]

    def _resume(self, channel: str) -> asyncio.Future[Any] | None:
        """Return a pending pop whose receiver was cancelled, if there is one."""
        pending = self._interrupted.get(channel)
        return pending.pop(0) if pending else None

    def _interrupt(self, channel: str, pending: asyncio.Future[Any], redis: Any) -> None:
        """Keep a pending pop for the next receiver; put its message back if there is none."""
        self._interrupted.setdefault(channel, []).append(pending)
        self._tasks.start(self._put_back(channel, pending, redis))

    async def _put_back(self, channel: str, pending: asyncio.Future[Any], redis: Any) -> None:
        await asyncio.wait([pending])
        interrupted = self._interrupted.get(channel, [])
        if pending in interrupted:
            interrupted.remove(pending)
            if not interrupted:
                del self._interrupted[channel]
            if pending.exception() is None and pending.result() is not None:
                await redis.lpush(*pending.result())


def _unpack(namespace: Namespace, key: str, item: bytes) -> Message | None:
    """Return the message of an item, ``None`` if it has expired or is not valid."""
    try:
        expires_at, message, *_ = msgpack.unpackb(namespace.open(key, item), strict_map_key=False)
        if not isinstance(message, dict):
            raise Refused("malformed", "no message")
        return message if expires_at > time.time() else None
    except Refused as refusal:
        drops.bus.add(refusal.reason, "Dropped an item of a named queue: %s", refusal)
    except Exception as error:
        kind = type(error).__name__  # its text may contain the item
        drops.bus.add("malformed", "Dropped a malformed item of a named queue: %s", kind)
    return None
