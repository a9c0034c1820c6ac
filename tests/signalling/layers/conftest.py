from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from signalling.layers import RedisChannelLayer
from tests.integration.servers import Redis, running

MakeLayer = Callable[..., RedisChannelLayer]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """The Redis of these tests, which none of them stops."""
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis of one test's own, to be counted, stopped and killed."""
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture
def prefix() -> str:
    return f"test{next(_numbers)}"


@pytest.fixture
async def make_layer(redis: Redis, prefix: str) -> AsyncIterator[MakeLayer]:
    """Return a function that makes Redis layers, each of them a process of its own to the others."""
    made: list[RedisChannelLayer] = []

    def make_layer(*hosts: Any, **options: Any) -> RedisChannelLayer:
        layer = RedisChannelLayer(hosts=list(hosts) or [redis.url], **{"prefix": prefix, **options})
        made.append(layer)
        return layer

    yield make_layer
    async with asyncio.timeout(10):
        for layer in made:
            await layer.close()
