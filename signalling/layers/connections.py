"""Connections to Redis, and the targets of messages there."""

from __future__ import annotations

import zlib
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

ALL = "all"
"""The target of messages to every process."""


def host_options(host: Any) -> dict[str, Any]:
    """Return one entry of ``hosts`` as redis-py options, with the URL as ``address``."""
    if isinstance(host, dict):
        return host
    if isinstance(host, str):
        return {"address": host}
    name, port = host
    return {"address": f"redis://{name}:{port}"}


def connect(options: dict[str, Any], timeout: float | None) -> Redis:
    """Return a client without retries: repeating a lost PUBLISH could deliver it twice."""
    options = dict(options)
    url = options.pop("address", "redis://localhost:6379")
    settings: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout or 2.0,
        "retry": Retry(NoBackoff(), 0),
        **options,
    }
    return Redis.from_url(url, **settings)


def dedicated_connection(options: dict[str, Any]) -> Any:
    """Return a connection outside the pool. It connects when it is first used."""
    return connect(options, timeout=None).connection_pool.make_connection()  # type: ignore[no-untyped-call]


def database_number(options: dict[str, Any]) -> int:
    """Return the number of the database that the options select."""
    return int(connect(options, timeout=None).connection_pool.connection_kwargs.get("db") or 0)


def host_index(name: str, count: int) -> int:
    """Return which of ``count`` hosts serves a process id or a named queue."""
    return zlib.crc32(name.encode()) % count
