"""Attached channels, and what Redis counts."""

from __future__ import annotations

import asyncio
from typing import Any

from signalling.layers import RedisChannelLayer
from tests.integration.stores import Redis
from tests.patience import PATIENCE

Message = dict[str, Any]


class AttachedChannel:
    """A channel that keeps the messages it receives."""

    def __init__(self, layer: RedisChannelLayer, channel: str) -> None:
        self.layer = layer
        self.name = channel
        self.received: list[Message] = []
        self._has_changed = asyncio.Event()
        layer.attach(channel, self.add)

    def add(self, message: Message) -> None:
        self.received.append(message)
        self._has_changed.set()

    async def receive(self, count: int) -> list[Message]:
        """Wait until ``count`` messages have been received, and return all of them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.received) < count:
                self._has_changed.clear()
                await self._has_changed.wait()
        return self.received


async def attach(layer: RedisChannelLayer, *groups: str) -> AttachedChannel:
    """Attach a new channel and add it to groups."""
    channel = await layer.new_channel()
    attached = AttachedChannel(layer, channel)
    for group in groups:
        await layer.group_add(group, channel)
    return attached


def clients(redis: Redis) -> list[dict[str, Any]]:
    found: Any = redis.client.client_list()
    return list(found)


def calls(redis: Redis, command: str) -> int:
    """Return how often Redis has executed a command."""
    statistics: Any = redis.client.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {}).get("calls", 0))
