"""Queues in Redis for channels without ``!`` in their name, shared by all processes."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import msgpack
from channels.exceptions import ChannelFull

from .connections import connect, host_index
from .local import Message
from .tasks import BackgroundTasks


class NamedQueues:
    """The queues as seen by one event loop.

    A queue is a Redis list on the host that its name selects.
    """

    def __init__(self, hosts: list[dict[str, Any]], *, prefix: str, expiry: float) -> None:
        self._hosts = hosts
        self._prefix = prefix
        self._expiry = expiry
        self._clients: dict[int, Any] = {}
        self._interrupted: dict[str, list[asyncio.Future[Any]]] = {}
        """Pending pops whose receivers were cancelled."""
        self._tasks = BackgroundTasks()

    async def push(self, channel: str, message: Message, capacity: int) -> None:
        """Append a message. Raises ``ChannelFull`` if ``capacity`` messages wait already."""
        key, redis = self._key(channel), self._client(channel)
        while await redis.llen(key) >= capacity:
            oldest = await redis.lindex(key, 0)
            if oldest is not None and _unpack(oldest)[0] > time.time():
                raise ChannelFull
            if oldest is not None:
                await redis.lrem(key, 1, oldest)
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, msgpack.packb((time.time() + self._expiry, message)))
            pipeline.expire(key, int(self._expiry) + 1)
            await pipeline.execute()

    async def pop(self, channel: str) -> Message:
        """Wait for the next message that has not expired, remove it and return it."""
        key, redis = self._key(channel), self._client(channel)
        while True:
            pending = self._resume(key) or asyncio.ensure_future(redis.blpop([key], timeout=1))
            try:
                found = await asyncio.shield(pending)
            except asyncio.CancelledError:  # Redis may have removed the message already
                self._interrupt(key, pending, redis)
                raise
            if found is not None:
                expires_at, message = _unpack(found[1])
                if expires_at > time.time():
                    return cast(Message, message)

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109
        """Disconnect, at most ``timeout`` seconds after pending pops have been put back."""
        await self._tasks.wait(timeout)
        await self._tasks.cancel()
        for redis in self._clients.values():
            await redis.aclose()

    def _key(self, channel: str) -> str:
        return f"{self._prefix}:queue:{channel}"

    def _client(self, channel: str) -> Any:
        index = host_index(channel, len(self._hosts))
        if index not in self._clients:
            self._clients[index] = connect(self._hosts[index], timeout=None)
        return self._clients[index]

    def _resume(self, key: str) -> asyncio.Future[Any] | None:
        """Return a pending pop whose receiver was cancelled, if there is one."""
        pending = self._interrupted.get(key)
        return pending.pop(0) if pending else None

    def _interrupt(self, key: str, pending: asyncio.Future[Any], redis: Any) -> None:
        """Keep a pending pop for the next receiver; put its message back if there is none."""
        self._interrupted.setdefault(key, []).append(pending)
        self._tasks.start(self._put_back(key, pending, redis))

    async def _put_back(self, key: str, pending: asyncio.Future[Any], redis: Any) -> None:
        await asyncio.wait([pending])
        interrupted = self._interrupted.get(key, [])
        if pending in interrupted:
            interrupted.remove(pending)
            if not interrupted:
                del self._interrupted[key]
            if pending.exception() is None and pending.result() is not None:
                await redis.lpush(key, pending.result()[1])


def _unpack(item: bytes) -> Any:
    return msgpack.unpackb(item, strict_map_key=False)
