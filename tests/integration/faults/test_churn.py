"""A hundred clients a second come and go, and no resource of the worker grows.

``EFFORT=20 make integration`` does so for about two minutes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.effort import effort
from tests.integration.fixtures import MakeSite
from tests.integration.servers import ServerName, Site
from tests.integration.stores import PostgreSQL
from tests.integration.traffic import memory, wait_until

CLIENTS = effort(200)
RATE = 100  # clients a second, if the machine is fast enough
AT_ONCE = 40
ROOMS = 100
WINDOW = 3  # seconds: enough for a resume on a busy machine


@dataclass(frozen=True)
class Footprint:
    """The resources of a worker."""

    memory: int  # bytes
    descriptors: int
    rows: int
    redis_keys: int
    redis_clients: int
    database_connections: int


def footprint(site: Site, postgresql: PostgreSQL) -> Footprint:
    assert site.redis is not None
    with postgresql.connect("postgres") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [site.database.name]
        ).fetchone()
    assert row is not None
    redis: Any = site.redis.client
    return Footprint(
        memory=memory(site.worker),
        descriptors=psutil.Process(site.worker.pid).num_fds(),
        rows=site.database.live_rows(),
        redis_keys=redis.dbsize(),
        redis_clients=redis.info("clients")["connected_clients"],
        database_connections=int(row[0]),
    )


async def join_and_end(site: Site, number: int, code: str) -> None:
    """Close properly, or (every second client) reset the connection and (every fourth) resume."""
    name = f"user{number % 20}"
    client = site.client(name)
    await client.connect()
    joined = await client.join(code, resumable=number % 2 == 1, within=20)
    if number % 2 == 0:
        await client.close()
        return
    await client.reset()
    if number % 4 == 1:
        async with site.client(name) as again:
            await again.resume(code, joined["resumeToken"])


async def churn(site: Site, rooms: list[str]) -> None:
    """Run ``CLIENTS`` clients. None may fail."""
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        try:
            await join_and_end(site, number, rooms[number % len(rooms)])
        finally:
            at_once.release()

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            await at_once.acquire()
            group.create_task(one(number))
            await asyncio.sleep(1 / RATE)


async def wait_until_idle(site: Site) -> None:
    await wait_until(lambda: site.database.live_rows() == 0, "the rooms are empty", within=20)
    await wait_until(lambda: connections_of(site) == 0, "the sockets are closed", within=20)


def connections_of(site: Site) -> int:
    open_sockets = psutil.Process(site.worker.pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in open_sockets)


@pytest.mark.timeout(CLIENTS / 5 + 90)
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_no_resource_grows_while_clients_come_and_go(
    make_site: MakeSite, postgresql: PostgreSQL, server: ServerName
) -> None:
    site = make_site(
        engine="postgresql",
        redis=True,
        server=server,
        signalling={"RESUME_WINDOW": WINDOW, "LEASE_SECONDS": 3, "LEASE_RENEWAL": 1},
    )
    rooms = [site.room() for _ in range(ROOMS)]
    for number in range(20):
        site.user(f"user{number}")
    await churn(site, rooms)
    await wait_until_idle(site)
    before = footprint(site, postgresql)
    await churn(site, rooms)
    await wait_until_idle(site)
    after = footprint(site, postgresql)
    assert after.rows == 0
    assert after.descriptors <= before.descriptors + 2
    assert after.redis_keys <= before.redis_keys
    assert after.redis_clients <= before.redis_clients + 1
    assert after.database_connections <= before.database_connections + 1
    # Cycles of 500 sockets wait for the garbage collector, and the allocator keeps its peak.
    assert after.memory <= before.memory + 12 * 1024 * 1024 + CLIENTS * 256
