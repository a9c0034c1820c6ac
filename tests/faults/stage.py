"""Workers, stores and clocks that can fail."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from glob import glob
from pathlib import Path
from typing import Any

from tests.integration.database import Database
from tests.integration.processes import require
from tests.integration.servers import ServerName, Site, Worker, migrate
from tests.integration.stores import PostgreSQL, Redis, running

from . import schedule
from .proxy import CommitCutter
from .records import Room, Row

SERVERS: list[ServerName] = ["uvicorn", "daphne", "uvicorn"]
EXIT_SECONDS = 15.0
"""The time in which a worker must exit: docs/reliability.md, "Stopping a server"."""
LIMIT = 6
"""Seats of each room: fewer than would like one."""
ROWS = """
    SELECT r.code, r.p2p_limit, p.peer_id, p.away_until IS NOT NULL,
           extract(epoch FROM p.away_until - now())::float
      FROM signalling_rooms_room r
      LEFT JOIN signalling_rooms_participant p ON p.room_id = r.id AND p.left_at IS NULL
"""


class Clock:
    """The clock of a worker, by libfaketime: a file with its offset in seconds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        require("faketime", "faketime")
        self._library = glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
        self.set(0)

    def set(self, offset: int) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(f"{offset:+d}\n")
        temporary.replace(self._path)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(Path(__file__).with_name("faketime")),
        }


class Stage:
    """A site with three workers, and everything that can fail. It is the ``Place`` of people."""

    def __init__(
        self, site: Site, postgresql: PostgreSQL, redis: Redis, proxy: CommitCutter
    ) -> None:
        self.site = site
        self.postgresql = postgresql
        self.redis = redis
        self.proxy = proxy
        self.exit_seconds = EXIT_SECONDS
        self.clocks = [Clock(site.folder / f"clock-{n}") for n in range(schedule.WORKERS)]
        self.rooms = [site.room(p2p_limit=LIMIT) for _ in range(schedule.ROOMS)]

    # --- The place of people ------------------------------------------------------------------

    @property
    def workers(self) -> int:
        return len(self.site.workers)

    def url(self, worker: int) -> str:
        return self.site.workers[worker].url

    def token(self, name: str) -> str:
        return self.site.token(name)

    # --- Workers ------------------------------------------------------------------------------

    async def start(self) -> None:
        for number, (server, clock) in enumerate(zip(SERVERS, self.clocks, strict=True)):
            log = self.site.folder / f"worker-{number}-{server}.log"
            environment = self.site.environment | clock.environment
            environment["JWT_LEEWAY"] = "30"  # the default; the tests' settings have none
            environment["DATABASE_URL"] = self.proxy.url(self.site.database.name)
            environment.pop("COVERAGE_PROCESS_START", None)
            self.site.workers.append(Worker(server, environment, log))
        await asyncio.gather(*(asyncio.to_thread(worker.start) for worker in self.site.workers))

    def new_output(self) -> list[tuple[str, str]]:
        """Return what each worker has logged since the last call."""
        return [(worker.log.stem, worker.new_output()) for worker in self.site.workers]

    def save_logs(self, folder: Path) -> None:
        """Copy the logs of the workers to ``folder``."""
        for worker in self.site.workers:
            shutil.copy(worker.log, folder)

    # --- The database -------------------------------------------------------------------------

    async def read_rooms(self) -> dict[str, Room]:
        """Return the rooms and their live peers."""
        rows = await asyncio.to_thread(self._query, ROWS)
        rooms: dict[str, Room] = {}
        for code, limit, peer, is_away, remaining in rows:
            room = rooms.setdefault(code, Room(limit, {}))
            if peer is not None:
                room.rows[peer] = Row(remaining if is_away else None)
        return rooms

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.postgresql.connect(self.site.database.name) as connection:
            return connection.execute(statement.encode()).fetchall()


@asynccontextmanager
async def stage(settings: dict[str, Any], names: list[str]) -> AsyncIterator[Stage]:
    """Start stores and workers, with a user for each name. They are removed at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        start: Callable[[Any], Any] = lambda store: stack.enter_context(running(store(folder)))  # noqa: E731
        postgresql, redis = [await asyncio.to_thread(start, store) for store in (PostgreSQL, Redis)]
        url = postgresql.create("soak")
        await asyncio.to_thread(migrate, url)
        database = Database(url)
        stack.callback(database.close)
        site = Site(folder, database, redis=redis, signalling=settings)
        for name in names:
            site.user(name)
        proxy = CommitCutter(postgresql)
        await proxy.start()
        try:
            made = Stage(site, postgresql, redis, proxy)
            stack.callback(site.stop)
            await made.start()
            yield made
        finally:
            await asyncio.to_thread(site.stop)
            await proxy.stop()
