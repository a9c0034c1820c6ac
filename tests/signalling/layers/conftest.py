from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from signalling.layers import RedisChannelLayer
from tests.integration.stores import Redis, store_fixture
from tests.patience import PATIENCE
from tests.signalling.layers.kinds import DIFFERENCES, MAKERS, RACES, Layers

MakeLayer = Callable[..., RedisChannelLayer]

_numbers = itertools.count(1)


own_redis = store_fixture(Redis, "function")  # to count its commands, stop it and kill it


@pytest.fixture
def prefix() -> str:
    return f"test{next(_numbers)}"


@pytest.fixture
async def open_layer() -> AsyncIterator[MakeLayer]:
    """Return ``RedisChannelLayer``, whose layers are closed after the test."""
    made: list[RedisChannelLayer] = []

    def open_layer(**options: Any) -> RedisChannelLayer:
        made.append(RedisChannelLayer(**options))
        return made[-1]

    yield open_layer
    async with asyncio.timeout(PATIENCE):
        for layer in made:
            await layer.close()


@pytest.fixture
def make_layer(redis: Redis, prefix: str, open_layer: MakeLayer) -> MakeLayer:
    """Return a function that makes Redis layers; to each other they are separate processes."""

    def make_layer(*hosts: Any, **options: Any) -> RedisChannelLayer:
        patient = {"prefix": prefix, "timeout": PATIENCE, **options}
        return open_layer(hosts=list(hosts) or [redis.url], **patient)

    return make_layer


@pytest.fixture(params=MAKERS)
async def layers(
    request: pytest.FixtureRequest, redis: Redis, prefix: str
) -> AsyncIterator[Layers]:
    """Return a factory for one kind of layer; each test runs with all kinds."""
    kind: str = request.param
    known = DIFFERENCES[kind]
    name = request.node.originalname
    case = request.node.callspec.id.removeprefix(kind).strip("-")
    difference = known.get(name) or known.get(f"{name}[{case}]")
    if difference is not None:
        is_strict = (kind, name) not in RACES
        request.applymarker(pytest.mark.xfail(strict=is_strict, reason=f"{kind}: {difference}"))
    layers = Layers(
        lambda **options: MAKERS[kind](redis, prefix, **options),
        PATIENCE if difference is None else 0.3,
    )
    yield layers
    await asyncio.wait_for(layers.close(), PATIENCE)


@pytest.fixture
def layer(layers: Layers) -> Any:
    return layers.layer()
