"""PostgreSQL stops, hangs, becomes read-only or locks a row: nobody waits for long.

See ``test_stores.py`` for the rows after an outage.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.hooks import SLOW
from tests.integration.locks import PEER_LOCK, ROOM_LOCK, Lock
from tests.integration.servers import Site, migrate
from tests.integration.stores import PostgreSQL, store_fixture
from tests.integration.traffic import wait_until

SOON = 10.0
"""Seconds. Without a deadline for calls, all of this takes longer: they wait for each other."""

postgresql = store_fixture(PostgreSQL)  # tests of this module stop it


@pytest.fixture(scope="module")
def empty_postgresql(postgresql: PostgreSQL) -> str:
    migrate(postgresql.create("empty"))
    return "empty"


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    signalling = {
        "CAN_JOIN": "tests.integration.hooks.can_join",
        "DRAIN_SECONDS": 1,
        "RESUME_WINDOW": 2,
    }
    return make_site(engine="postgresql", server="uvicorn", signalling=signalling)


@contextmanager
def stopped(postgresql: PostgreSQL) -> Iterator[None]:
    postgresql.send_signal(signal.SIGQUIT)
    postgresql.wait()
    try:
        yield
    finally:
        postgresql.start()


@contextmanager
def hanging(postgresql: PostgreSQL) -> Iterator[None]:
    """Suspend the server and all its processes: connections stay open, nothing is answered."""
    server = psutil.Process(postgresql.pid)
    processes = [server, *server.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def read_only(postgresql: PostgreSQL) -> Iterator[None]:
    """Let the server refuse writes, as a standby after a failover does."""

    def set_option(statement: str) -> None:
        with postgresql.connect("postgres") as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(statement.encode())
            connection.execute("SELECT pg_reload_conf()")

    set_option("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        yield
    finally:
        set_option("ALTER SYSTEM RESET default_transaction_read_only")


FAULTS = [stopped, hanging, read_only]


@asynccontextmanager
async def joined(site: Site, count: int, code: str) -> AsyncIterator[list[SignallingCommunicator]]:
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(count):
            client = await stack.enter_async_context(site.client(f"user{number}"))
            await client.join(code)
            clients.append(client)
        yield clients


async def outcome(client: SignallingCommunicator, code: str) -> str:
    try:
        await client.join(code, within=SOON)
    except RequestRefused as refused:
        return refused.code
    return "joined"


def status(site: Site, path: str, worker: int = 0) -> tuple[int, str | None]:
    """Return the status of a page, and its ``Retry-After``."""
    request = Request(site.workers[worker].http_url + path)
    request.add_header("Authorization", f"Bearer {site.token('caller')}")
    try:
        with urlopen(request, timeout=SOON) as response:
            return response.status, None
    except HTTPError as error:
        return error.code, error.headers["Retry-After"]


def fetch(site: Site, path: str, worker: int) -> None:
    """Request a page of a server that may end before it responds."""
    with suppress(OSError, HTTPException):
        status(site, path, worker)


async def is_available(site: Site) -> None:
    while (await asyncio.to_thread(status, site, "/health/ready/"))[0] != 200:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_outage_delays_no_leave_and_no_answer(
    site: Site,
    postgresql: PostgreSQL,
    logs: Logs,
    fault: Callable[[PostgreSQL], Iterator[None]],
) -> None:
    logs.expect("Database unavailable")
    code, rooms = site.room(), [site.room() for _ in range(5)]
    site.token("caller")  # which needs the database
    async with AsyncExitStack() as stack:
        watchers, leavers = [], []
        for room in rooms:
            watcher, *others = await stack.enter_async_context(joined(site, 9, room))
            watchers.append(watcher)
            leavers.append(others)
        late = await stack.enter_async_context(site.client("late"))
        with fault(postgresql):  # type: ignore[attr-defined]
            await asyncio.gather(*(client.leave() for group in leavers for client in group))
            for watcher, group in zip(watchers, leavers, strict=True):
                for client in group:
                    left = await watcher.wait_for("peer:left", peerId=client.peer_id, within=SOON)
                    assert left["reason"] == "left"
            assert await outcome(late, code) == "unavailable"
            for path in (f"/api/rooms/{code}/", "/health/ready/", "/login/"):
                response = await asyncio.to_thread(status, site, path)
                assert response[0] == 503, path
                assert response[1] == (None if "health" in path else "2")
        await is_available(site)
        await late.join(code)
        await wait_until(
            lambda: site.database.live_rows() == len(rooms) + 1, "the leaves are written"
        )
    site.wait_until_empty()


async def test_a_locked_row_delays_no_other_room(site: Site, postgresql: PostgreSQL) -> None:
    locked = site.room()
    elsewhere = [site.room() for _ in range(8)]
    lock = Lock(postgresql, site)
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(site.client(f"user{n}")) for n in range(8)]
        others = [await stack.enter_async_context(site.client(f"other{n}")) for n in range(8)]
        with lock.hold(ROOM_LOCK, locked):
            joins = [asyncio.create_task(outcome(client, locked)) for client in waiting]
            await asyncio.to_thread(lock.wait_until_blocking)
            for client, code in zip(others, elsewhere, strict=True):
                assert await outcome(client, code) == "joined"
            assert set(await asyncio.gather(*joins)) == {"unavailable"}
        assert (await asyncio.to_thread(status, site, "/health/ready/"))[0] == 200
        assert await outcome(waiting[0], locked) == "joined"
    lock.close()
    site.wait_until_empty()


async def test_a_slow_hook_delays_no_other_room(site: Site) -> None:
    slow, elsewhere = site.room(name=SLOW), [site.room() for _ in range(8)]
    async with AsyncExitStack() as stack:
        waiting = [await stack.enter_async_context(site.client(f"user{n}")) for n in range(8)]
        others = [await stack.enter_async_context(site.client(f"other{n}")) for n in range(8)]
        joins = [asyncio.create_task(outcome(client, slow)) for client in waiting]
        for client, code in zip(others, elsewhere, strict=True):
            assert await outcome(client, code) == "joined"
        assert set(await asyncio.gather(*joins)) == {"unavailable"}
    site.wait_until_empty()


async def test_a_locked_peer_delays_no_other_peer_that_does_not_return(
    site: Site, postgresql: PostgreSQL
) -> None:
    free, locked = site.room(), site.room()
    lock = Lock(postgresql, site)
    async with AsyncExitStack() as stack:
        watchers = {}
        for code in (free, locked):
            watcher = watchers[code] = await stack.enter_async_context(site.client("watcher"))
            await watcher.join(code)
            keen = await stack.enter_async_context(site.client("keen"))
            await keen.join(code, resumable=True)
            await keen.reset()
            await watcher.wait_for("peer:away", peerId=keen.peer_id)
        with lock.hold(PEER_LOCK, locked):
            await watchers[free].wait_for("peer:left", within=SOON)
        await watchers[locked].wait_for("peer:left", within=SOON)
    lock.close()
    site.wait_until_empty()


async def test_processes_end_during_an_outage(site: Site, postgresql: PostgreSQL) -> None:
    """Resumable peers, a join and a view wait for PostgreSQL, which hangs until the end."""
    graceful = ["--timeout-graceful-shutdown", "2"]
    workers = [site.start_worker("uvicorn", *graceful), site.start_worker("daphne")]
    code = site.room()
    site.token("caller")
    async with AsyncExitStack() as stack:
        for number in range(4):
            client = site.client(f"user{number}", worker=1 + number % 2)
            await client.connect()
            stack.push_async_callback(client.close)
            await client.join(code, resumable=True)
        late = [site.client(f"late{number}", worker=1 + number) for number in range(2)]
        for client in late:
            await client.connect()
            stack.push_async_callback(client.close)
        with hanging(postgresql):
            for client in late:
                await client.send("join:room", {"roomCode": code})
            views = [
                asyncio.create_task(asyncio.to_thread(fetch, site, f"/api/rooms/{code}/", worker))
                for worker in (1, 2)
            ]
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            ended = await asyncio.gather(*(asyncio.to_thread(each.wait) for each in workers))
            assert ended == [0, 0]
            await asyncio.gather(*views)
