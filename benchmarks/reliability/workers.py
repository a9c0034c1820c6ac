"""Cases in which server processes are killed, restarted or starved: ghost, busy, resume, rolling."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from statistics import median

from benchmarks.processes import LOAD_CORE, SERVER_CORE
from benchmarks.progress import log

from .deployment import (
    PAIRS,
    PROCESSES,
    ROOM_SIZE,
    Deployment,
    Figure,
    percentile,
)
from .peers import (
    Observer,
    Returner,
    are_back,
    are_connected,
    count_new_identities,
    count_refused,
    count_reported,
    count_unreported,
    stop_sending,
    wait_until,
)

GHOST_ROOMS = 5
RETURNERS = 100
RENEWAL = 1.5  # LEASE_RENEWAL
COMPETITORS = 8
BUSY_SECONDS = 120


async def ghost(deployment: Deployment) -> list[Figure]:
    """Kill a process and measure when the peers at the others learn of it."""
    left: list[float] = []
    away: list[float] = []
    for number in range(deployment.rounds):
        # The rounds cover different times since the last renewal of the process's lease.
        wait = RENEWAL * number / deployment.rounds
        now_left, now_away = await _ghosts(deployment, number % PROCESSES, wait)
        left += now_left
        away += now_away
        log(f"  longest so far: {max(left):.1f} s")
    return [
        Figure("ghost after kill -9, longest", max(left), "s", 8),
        Figure("ghost after kill -9, median", median(left), "s"),
        Figure("peer:away for a resumable peer after kill -9, longest", max(away), "s", 8),
    ]


async def busy(deployment: Deployment) -> list[Figure]:
    """Let eight processes compete for the CPU, then kill a process."""
    with _competitors(COMPETITORS):
        async with AsyncExitStack() as stack:
            pairs = [(number % PROCESSES, (number + 1) % PROCESSES) for number in range(PAIRS)]
            senders = await deployment.senders(stack, pairs)
            await asyncio.sleep(BUSY_SECONDS)
            dead = deployment.count_in_logs("Reaped dead worker")
            fenced = deployment.count_in_logs("Closing all sockets")
            outages = deployment.count_in_logs("Database unavailable")
            await stop_sending(senders)
        left, _ = await _ghosts(deployment, 0, 0)
    load = f"at load {COMPETITORS}"
    return [
        Figure(f"processes declared dead in {BUSY_SECONDS} s {load}", dead, "", 0),
        Figure(f"processes that gave up their lease {load}", fenced, "", 0),
        Figure(f"outages of the database noticed {load}", outages),
        Figure(f"ghost after kill -9 {load}, longest", max(left), "s"),
    ]


@contextmanager
def _competitors(count: int) -> Iterator[None]:
    """Run processes that do nothing but use the CPU, on all cores."""
    command = [sys.executable, "-c", "while True: pass"]

    def use_all_cores() -> None:
        os.sched_setaffinity(0, {SERVER_CORE, LOAD_CORE})

    running = [
        subprocess.Popen(command, preexec_fn=use_all_cores)  # noqa: S603
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


async def _ghosts(
    deployment: Deployment, killed: int, wait: float
) -> tuple[list[float], list[float]]:
    """Kill a process after ``wait`` seconds, and start it again.

    Return after how many seconds each observer got ``peer:left``, and ``peer:away``.
    """
    left: list[float] = []
    away: list[float] = []
    async with AsyncExitStack() as stack:
        rooms = [await _ghost_room(deployment, killed, stack) for _ in range(GHOST_ROOMS)]
        await asyncio.sleep(wait)
        at = await deployment.signal(killed, signal.SIGKILL)
        for observers, plain_id, resumable_id in rooms:
            for observer in observers:
                left.append(await observer.receive("peer:left", plain_id, within=60) - at)
                away.append(await observer.receive("peer:away", resumable_id, within=60) - at)
        await deployment.restart(killed)
    return left, away


async def _ghost_room(
    deployment: Deployment, killed: int, stack: AsyncExitStack
) -> tuple[list[Observer], str, str]:
    """Fill a room: observers at the other processes, a plain and a resumable peer at this one.

    Return the observers and the ids of the two peers.
    """
    room = deployment.room()
    observers = []
    for other in range(killed + 1, killed + PROCESSES):
        client = await stack.enter_async_context(deployment.client(other))
        await client.join(room)
        observers.append(Observer(client))
        stack.push_async_callback(observers[-1].close)
    # These know only the process that will be killed, so they cannot return too early.
    plain, resumable = [
        await stack.enter_async_context(deployment.client(killed)) for _ in range(2)
    ]
    await plain.request("join:room", {"roomCode": room})
    await resumable.join(room)
    for observer in observers:
        for peer in (plain, resumable):
            await observer.receive("peer:joined", peer.peer_id, within=5)
    return observers, plain.peer_id, resumable.peer_id


async def resume(deployment: Deployment) -> list[Figure]:
    """Stop a process and measure when its resumable peers are back at the others."""
    figures = []
    for name, number in (("kill -9", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
        waits: list[float] = []
        replaced = 0
        for turn in range(deployment.rounds):
            process = turn % PROCESSES
            async with AsyncExitStack() as stack:
                returners = await _returners(deployment, process, stack)
                at = await deployment.signal(process, number)
                await wait_until(are_back(returners), f"all peers back after {name}", within=60)
                waits += [one.back_at - at for one in returners if one.back_at]
                replaced += sum(not one.kept_identity for one in returners)
                log(f"  {name}: the last of {RETURNERS} is back after {max(waits):.1f} s")
                await deployment.restart(process)
        label = f"resume on another worker after {name}"
        figures += [
            Figure(f"{label}, p50", median(waits), "s"),
            Figure(f"{label}, p99 of {len(waits)}", percentile(waits, 0.99), "s", 3),
            Figure(f"{label}, peers with a new id", replaced, "", 0),
        ]
    return figures


async def _returners(deployment: Deployment, process: int, stack: AsyncExitStack) -> list[Returner]:
    """Fill rooms at one process with resumable peers.

    Half of them try one of the other processes next, half the other one.
    """
    returners = []
    for number in range(RETURNERS):
        if number % ROOM_SIZE == 0:
            room = deployment.room()
        step = 1 + number % 2
        client = deployment.client(process, process + step, process - step)
        connected = await stack.enter_async_context(client)
        await connected.join(room)
        returners.append(Returner(connected))
        stack.push_async_callback(returners[-1].close)
    return returners


async def rolling(deployment: Deployment) -> list[Figure]:
    """Restart the processes one after the other and account for every relay."""
    async with AsyncExitStack() as stack:
        pairs = [(number % PROCESSES, (number + 1) % PROCESSES) for number in range(PAIRS)]
        senders = await deployment.senders(stack, pairs)
        await asyncio.sleep(2)
        for process in range(PROCESSES):
            await deployment.signal(process, signal.SIGTERM)
            await deployment.restart(process)
            await wait_until(are_connected(senders), "all peers back after a restart", within=30)
            await asyncio.sleep(2)
        await stop_sending(senders)
        acknowledged = sum(len(sender.acknowledged) for sender in senders)
        unknown = sum(len(sender.unknown) for sender in senders)
        duplicates = sum(sender.duplicates for sender in senders)
        out_of_order = sum(sender.out_of_order for sender in senders)
        reconnects = max(sender.client.reconnects for sender in senders)
        return [
            Figure("acknowledged relays in a rolling restart", acknowledged),
            Figure("of them lost without a report", count_unreported(senders), "", 0),
            Figure("of them lost and reported", count_reported(senders)),
            Figure("relays received twice", duplicates, "", 0),
            Figure("relays out of order", out_of_order, "", 0),
            Figure("relays cut off, outcome unknown", unknown),
            Figure("relays refused", count_refused(senders)),
            Figure("reconnects of one client, most", reconnects, "", PROCESSES),
            Figure("peers with a new id", count_new_identities(senders), "", 0),
        ]
