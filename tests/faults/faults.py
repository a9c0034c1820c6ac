"""The faults: one function for each kind of ``schedule.KINDS``. Each repairs what it broke."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable

import psycopg

from tests.integration.locks import PEER_LOCK, ROOM_LOCK, Lock

from .stage import Stage


class WorkerHung(Exception):
    """A worker did not exit after SIGTERM. It was killed."""


async def nothing(stage: Stage) -> None:
    await asyncio.sleep(3)


# --- Workers --------------------------------------------------------------------------------------


async def kill(stage: Stage, worker: int, down: float) -> None:
    process = stage.site.workers[worker]
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    await asyncio.sleep(down)
    await asyncio.to_thread(process.launch)


async def pause(stage: Stage, worker: int, seconds: float) -> None:
    process = stage.site.workers[worker]
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)


async def terminate(stage: Stage, worker: int) -> None:
    process = stage.site.workers[worker]
    process.send_signal(signal.SIGTERM)
    try:
        code = await asyncio.to_thread(process.wait, within=stage.exit_seconds)
        is_hung = False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        code, is_hung = await asyncio.to_thread(process.wait), True
    await asyncio.to_thread(process.launch)
    if is_hung or code:
        raise WorkerHung(f"worker {worker} ended with {code} after SIGTERM")


async def clock(stage: Stage, worker: int, offset: int, seconds: float) -> None:
    stage.clocks[worker].set(offset)
    await asyncio.sleep(seconds)
    stage.clocks[worker].set(0)
    await asyncio.sleep(1)  # libfaketime reads the file once a second


# --- PostgreSQL -----------------------------------------------------------------------------------


async def postgresql_restart(stage: Stage) -> None:
    await postgresql_stop(stage, 0)


async def postgresql_stop(stage: Stage, seconds: float) -> None:
    stage.postgresql.send_signal(signal.SIGQUIT)
    await asyncio.to_thread(stage.postgresql.wait)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stage.postgresql.start)


async def postgresql_read_only(stage: Stage, seconds: float) -> None:
    """Make each new transaction read-only, as after a failover to a standby."""
    await asyncio.to_thread(_set_read_only, stage, "on")
    await asyncio.sleep(seconds)
    await asyncio.to_thread(_set_read_only, stage, "off")


def _set_read_only(stage: Stage, value: str) -> None:
    database = stage.site.database.name
    with stage.postgresql.connect("postgres") as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            f"ALTER DATABASE {database} SET default_transaction_read_only = {value}".encode()
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )


async def postgresql_lock(stage: Stage, room: int, row: str, seconds: float) -> None:
    statement = {"room": ROOM_LOCK, "peers": PEER_LOCK}[row]
    lock = Lock(stage.postgresql, stage.site)
    held = lock.hold(statement, stage.rooms[room])
    try:
        await asyncio.to_thread(held.__enter__)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(held.__exit__, None, None, None)
    except psycopg.OperationalError:  # a fault of PostgreSQL has ended the lock
        pass
    finally:
        lock.close()


async def postgresql_cut(stage: Stage, commits: int) -> None:
    stage.proxy.cut_next(commits)
    for _ in range(80):
        await asyncio.sleep(0.1)
        if not stage.proxy.is_armed:
            return
    stage.proxy.cut_next(0)


# --- Redis, and both ------------------------------------------------------------------------------


async def redis_restart(stage: Stage) -> None:
    await redis_stop(stage, 0)


async def redis_stop(stage: Stage, seconds: float) -> None:
    await asyncio.to_thread(stage.redis.stop, signal.SIGKILL)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(stage.redis.start)


async def redis_kill(stage: Stage) -> None:
    for kind in ("normal", "pubsub"):
        await asyncio.to_thread(stage.redis.client.execute_command, f"CLIENT KILL TYPE {kind}")


async def stores_stop(stage: Stage, seconds: float) -> None:
    await asyncio.gather(redis_stop(stage, seconds), postgresql_stop(stage, seconds))


FAULTS: dict[str, Callable[..., Awaitable[None]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        nothing,
        kill,
        pause,
        terminate,
        clock,
        postgresql_restart,
        postgresql_stop,
        postgresql_read_only,
        postgresql_lock,
        postgresql_cut,
        redis_restart,
        redis_stop,
        redis_kill,
        stores_stop,
    )
}
