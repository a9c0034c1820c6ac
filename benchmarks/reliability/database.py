"""The case in which PostgreSQL stops, hangs, or locks a row: outage."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import BenchmarkError
from signalling.client import RequestRefused, ResumingClient

from .deployment import ROOM_SIZE, Deployment, Figure
from .locks import locked_row

LEAVES = 40
JOINS = 8
Fault = Callable[[Deployment], AbstractAsyncContextManager[None]]


async def outage(deployment: Deployment) -> list[Figure]:
    """Measure leaves and refused joins without a database, and joins while a row is locked."""
    figures = await _in_fault(deployment, stopped, "stopped")
    figures += await _in_fault(deployment, hanging, "hangs")
    return figures + await _with_a_locked_row(deployment)


async def _in_fault(deployment: Deployment, fault: Fault, name: str) -> list[Figure]:
    async with AsyncExitStack() as stack:
        clients = await _clients(deployment, stack, LEAVES)
        (late,) = await _clients(deployment, stack, 1)
        rooms = [deployment.room() for _ in range(LEAVES // ROOM_SIZE)]
        for number, client in enumerate(clients):
            await client.join(rooms[number % len(rooms)])
        async with fault(deployment):
            leaves = await asyncio.gather(*(_seconds(client.leave()) for client in clients))
            refused = await _seconds(_refused(late, rooms[0]))
    what = f"while PostgreSQL {name}" if name == "hangs" else f"while PostgreSQL is {name}"
    return [
        Figure(f"{LEAVES} leaves {what}, announced after, median", median(leaves), "s"),
        Figure(f"{LEAVES} leaves {what}, announced after, worst", max(leaves), "s", 2.5),
        Figure(f"a join {what}, refused after", refused, "s", 2.5),
    ]


async def _with_a_locked_row(deployment: Deployment) -> list[Figure]:
    async with AsyncExitStack() as stack:
        waiting = await _clients(deployment, stack, JOINS)
        others = await _clients(deployment, stack, JOINS)
        locked = deployment.room()
        async with locked_row(deployment, locked):
            refusals = [asyncio.create_task(_seconds(_refused(one, locked))) for one in waiting]
            await asyncio.sleep(0.3)  # they wait for the lock
            joins = await asyncio.gather(
                *(_seconds(client.join(deployment.room())) for client in others)
            )
            refused = await asyncio.gather(*refusals)
    return [
        Figure("joins of other rooms while a row is locked, worst", max(joins), "s", 1),
        Figure("joins of the locked room, refused after, worst", max(refused), "s", 2.5),
    ]


async def _clients(
    deployment: Deployment, stack: AsyncExitStack, count: int
) -> list[ResumingClient]:
    """Connect clients to the first process."""
    return [await stack.enter_async_context(deployment.client(0)) for _ in range(count)]


async def _seconds(work: Coroutine[Any, Any, object]) -> float:
    begun = time.monotonic()
    await work
    return time.monotonic() - begun


async def _refused(client: ResumingClient, room: str) -> None:
    try:
        await client.request("join:room", {"roomCode": room})  # ``join`` would try again
    except RequestRefused as refused:
        if refused.code == "unavailable":
            return
        raise
    raise BenchmarkError("a join succeeded without the database")


# --- Faults -----------------------------------------------------------------------------------


@asynccontextmanager
async def stopped(deployment: Deployment) -> AsyncIterator[None]:
    """Kill PostgreSQL, and start it again afterwards."""
    assert deployment.stores.postgres is not None
    deployment.stores.postgres.popen.send_signal(signal.SIGQUIT)
    await asyncio.to_thread(deployment.stores.postgres.popen.wait)
    yield
    await asyncio.to_thread(deployment.stores.restart_postgres)
    await _recovered(deployment)


@asynccontextmanager
async def hanging(deployment: Deployment) -> AsyncIterator[None]:
    """Suspend PostgreSQL with all its processes."""
    assert deployment.stores.postgres is not None
    server = deployment.stores.postgres.popen.pid
    processes = [server, *_children(server)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
    await _recovered(deployment)


def _children(process: int) -> list[int]:
    return [
        int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


async def _recovered(deployment: Deployment) -> None:
    """Wait until a client has joined a room."""
    async with deployment.client(0) as client, asyncio.timeout(60):
        await client.join(deployment.room())
