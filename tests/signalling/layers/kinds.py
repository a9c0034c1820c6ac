"""Our channel layers and the stock ones, for the conformance tests.

``DIFFERENCES`` lists the tests that a layer does not pass. They are ``xfail`` and strict, so that an
entry that is no longer true fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer as StockRedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from signalling.layers import LocalChannelLayer, RedisChannelLayer
from tests.patience import PATIENCE

T = TypeVar("T")
Make = Callable[..., Any]

NO_CAPACITY = "its queues have no bound"
NO_EXPIRY = "messages do not expire"
NO_NAMES = "does not validate names"
NO_QUEUES = "drops messages to a named queue without a reader"

DIFFERENCES: dict[str, dict[str, str]] = {
    "local": {},
    "redis": {},
    "stock in-memory": {
        "test_channels_may_have_their_own_capacities": "does not compile them",
        "test_expired_messages_do_not_count": "removes expired messages at the next receive",
    },
    "stock redis": {
        "test_a_cancelled_receive_loses_no_message": "may lose one that arrives at this moment",
    },
    "stock pub/sub": {
        "test_a_flush_removes_messages_and_groups": NO_QUEUES,
        "test_a_full_channel_refuses_messages": NO_CAPACITY,
        "test_a_message_expires": NO_EXPIRY,
        "test_a_message_must_be_a_dict": "sends anything that can be serialised",
        "test_a_named_queue_keeps_messages_until_they_are_read": NO_QUEUES,
        "test_a_new_channel_may_have_a_prefix": "puts its own prefix first",
        "test_a_cancelled_receive_loses_no_message": "drops the channel and its waiting messages",
        "test_channels_may_have_their_own_capacities": NO_CAPACITY,
        "test_an_invalid_channel_name_is_a_type_error": NO_NAMES,
        "test_an_invalid_group_name_is_a_type_error": NO_NAMES,
        "test_new_channels_belong_to_this_process": "its names do not contain the process",
        "test_synchronous_code_may_send[named]": NO_QUEUES,
        "test_expired_messages_do_not_count": NO_EXPIRY,
    },
}
"""The tests that a layer does not pass, and why; ``test[id]`` is one of its parameters."""
RACES = {("stock redis", "test_a_cancelled_receive_loses_no_message")}
"""Differences that do not show in each run."""
MAKERS: dict[str, Make] = {
    "local": lambda redis, prefix, **options: LocalChannelLayer(prefix=prefix, **options),
    "redis": lambda redis, prefix, **options: RedisChannelLayer(
        hosts=[redis.url], prefix=prefix, **{"timeout": PATIENCE, **options}
    ),
    "stock in-memory": lambda redis, prefix, **options: InMemoryChannelLayer(**options),
    "stock redis": lambda redis, prefix, **options: StockRedisChannelLayer(
        hosts=[redis.url], prefix=prefix, **options
    ),
    "stock pub/sub": lambda redis, prefix, **options: RedisPubSubChannelLayer(
        hosts=[redis.url], prefix=prefix, **options
    ),
}


class Layers:
    """Makes layers of the kind under test."""

    def __init__(self, make: Make, timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._made: list[Any] = []

    def layer(self, **options: Any) -> Any:
        layer = self._make(**options)
        self._made.append(layer)
        return layer

    async def soon(self, work: Awaitable[T]) -> T:
        """Await something with a timeout."""
        return await asyncio.wait_for(work, self._timeout)

    async def empty(self, layer: Any, channel: str) -> bool:
        """Return whether a channel is empty: a message sent now is the next one received."""
        await self.soon(layer.send(channel, {"type": "last"}))
        return bool(await self.soon(layer.receive(channel)) == {"type": "last"})

    async def close(self) -> None:
        for layer in self._made:
            if isinstance(layer, StockRedisChannelLayer):
                await layer.close_pools()
            elif isinstance(layer, RedisPubSubChannelLayer):
                await layer.flush()
            elif isinstance(layer, RedisChannelLayer):
                await layer.close()


def number(value: int) -> dict[str, Any]:
    return {"type": "number", "value": value}
