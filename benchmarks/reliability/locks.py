"""Locks that another transaction holds while a case is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import psycopg

from benchmarks.processes import BenchmarkError

from .deployment import Deployment

Lock = Callable[[psycopg.Connection[Any]], None]


def locked_tables(deployment: Deployment) -> AbstractAsyncContextManager[None]:
    """Lock every table of the site, so that all queries wait."""

    def lock(holder: psycopg.Connection[Any]) -> None:
        tables = holder.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = ", ".join(f'"{name}"' for (name,) in tables)
        holder.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE".encode())

    return _locked(deployment, lock)


def locked_row(deployment: Deployment, room: str) -> AbstractAsyncContextManager[None]:
    """Lock the row of a room, which is opened for this."""

    def lock(holder: psycopg.Connection[Any]) -> None:
        query = b"SELECT 1 FROM signalling_rooms_room WHERE code = %s FOR UPDATE"
        if holder.execute(query, [room]).fetchone() is None:
            raise BenchmarkError(f"there is no room {room}")

    return _locked(deployment, lock)


@asynccontextmanager
async def _locked(deployment: Deployment, lock: Lock) -> AsyncIterator[None]:
    url = deployment.stores.database_url(deployment.server.database)
    holder: psycopg.Connection[Any] = await asyncio.to_thread(lambda: psycopg.connect(url))
    try:
        await asyncio.to_thread(lock, holder)
        yield
    finally:
        await asyncio.to_thread(holder.close)
