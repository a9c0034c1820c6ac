"""Cases in which Redis or the database fails: redis and stall."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from benchmarks.processes import BenchmarkError
from benchmarks.progress import log

from .deployment import PAIRS, PROCESSES, Deployment, Figure, percentile
from .locks import locked_tables
from .peers import (
    Sender,
    count_reconnects,
    count_refused,
    count_reported,
    count_unreported,
    stop_sending,
    wait_until,
)

OUTAGE = 10.0
STALL = 3.0


async def redis(deployment: Deployment) -> list[Figure]:
    """Kill Redis for a while and account for every relay within and between processes."""
    async with AsyncExitStack() as stack:
        half = PAIRS // 2
        within = await deployment.senders(stack, [(n, n) for n in range(half)])
        between = await deployment.senders(stack, [(n, n + 1) for n in range(half)])
        senders = within + between
        await asyncio.sleep(2)
        refused_before = count_refused(senders)
        assert deployment.stores.redis is not None
        await asyncio.to_thread(deployment.stores.redis.stop)
        await asyncio.sleep(OUTAGE)
        await asyncio.to_thread(deployment.stores.restart_redis)
        restarted_at = time.monotonic()
        received = {sender: len(sender.received) for sender in between}
        await wait_until(
            lambda: all(len(sender.received) > received[sender] for sender in between),
            "relays between processes after the outage",
            within=60,
        )
        recovery = time.monotonic() - restarted_at
        await asyncio.sleep(2)
        await stop_sending(senders)
        outage = f"a Redis outage of {OUTAGE:.0f} s"
        return [
            Figure(f"sockets closed in {outage}", count_reconnects(senders), "", 0),
            Figure("relays refused before it", refused_before, "", 0),
            Figure("relays refused within a process", count_refused(within), "", 0),
            Figure("relays refused between processes", count_refused(between)),
            Figure("acknowledged, lost without a report", count_unreported(senders), "", 0),
            Figure("acknowledged, lost and reported", count_reported(senders)),
            Figure("relays between processes resume after", recovery, "s"),
        ]


async def stall(deployment: Deployment) -> list[Figure]:
    """Lock all tables while peers join and measure how much longer relays take."""
    before: list[float] = []
    during: list[float] = []
    async with AsyncExitStack() as stack:
        pairs = [(number, number + number % 2) for number in range(PAIRS)]
        senders = await deployment.senders(stack, pairs)
        await asyncio.sleep(2)
        for _ in range(deployment.rounds):
            start = time.monotonic()
            await asyncio.sleep(STALL)
            before += await _delays(senders, start, time.monotonic())
            during += await _delays_in_stall(deployment, senders)
            p99 = [percentile(delays, 0.99) * 1e3 for delays in (before, during)]
            log(f"  p99 {p99[0]:.1f} ms before, {p99[1]:.1f} ms during a stall")
        await stop_sending(senders)
        stalls = f"{len(during)} relays in database stalls of {STALL:.0f} s"
        return [
            Figure(f"p99 of {len(before)} relays before", p99[0], "ms"),
            Figure(f"p99 of {stalls}", p99[1], "ms"),
            Figure("difference", p99[1] - p99[0], "ms", 5),
            Figure("relays refused", count_refused(senders), "", 0),
            Figure("sockets closed", count_reconnects(senders), "", 0),
        ]


async def _delays_in_stall(deployment: Deployment, senders: list[Sender]) -> list[float]:
    """Lock all tables, let one peer join at each process, and return the delays of the relays."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(deployment.client(process))
            for process in range(PROCESSES)
        ]
        async with locked_tables(deployment):
            start = time.monotonic()
            room = deployment.room()
            joins = [asyncio.create_task(client.join(room)) for client in clients]
            await asyncio.sleep(STALL)
            if any(join.done() for join in joins):  # a refused client tries again
                raise BenchmarkError("the lock did not stall the joins")
            end = time.monotonic()
        delays = await _delays(senders, start, end)
        await asyncio.wait_for(asyncio.gather(*joins), 30)
        return delays


async def _delays(senders: list[Sender], start: float, end: float) -> list[float]:
    """Wait for all relays that were due between two times and return their delays."""

    def is_complete(sender: Sender) -> bool:
        return bool(sender.delays) and sender.delays[-1][0] > end

    await wait_until(lambda: all(map(is_complete, senders)), "the relays of a window", within=30)
    return [delay for each in senders for due, delay in each.delays if start <= due <= end]
