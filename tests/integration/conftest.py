from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.integration.servers import (
    BUGS,
    Database,
    PostgreSQL,
    Process,
    Redis,
    ServerName,
    Site,
    migrate,
    running,
)

Engine = Literal["sqlite", "postgresql"]
MakeSite = Callable[..., Site]

_watched: list[Process] = []


class Logs:
    """What the servers log during one test; a bug in there fails it."""

    def __init__(self) -> None:
        self.expected: str | None = None

    def will_have(self, text: str) -> None:
        """Say that this test provokes an error, and what the log says of it."""
        self.expected = text

    def check(self, processes: list[Process]) -> None:
        news = {process: process.news() for process in processes}
        if self.expected is not None:
            assert any(self.expected in text for text in news.values()), (
                f"no log has {self.expected!r}: {news}"
            )
            return
        for process, text in news.items():
            assert not any(bug in text for bug in BUGS), f"{process.name} logged a bug:\n{text}"


@pytest.fixture(scope="package", autouse=True)
def _database_access(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The databases of these tests are not Django's test database; see ``servers.Database``."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(autouse=True)
def logs() -> Iterator[Logs]:
    """Fail a test during which a server logged a traceback, unless it said so."""
    logs = Logs()
    yield logs
    logs.check(_watched)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if report.failed:
        for process in _watched:
            report.sections.append(
                (f"log of {process.name} {process.log.name}", process.text()[-8000:])
            )
    return report


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running(Redis(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    with running(PostgreSQL(tmp_path_factory.mktemp("postgresql"))) as postgresql:
        yield postgresql


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "empty.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def empty_postgresql(postgresql: PostgreSQL) -> str:
    """The name of a migrated PostgreSQL database, to be copied."""
    migrate(postgresql.create("empty"))
    return "empty"


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def make_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSite]:
    """Return a function that makes a site with its workers; they are stopped with the module."""
    with ExitStack() as stack:

        def make_site(
            *,
            engine: Engine = "sqlite",
            redis: Redis | bool = False,  # True: the one of the test run
            workers: int = 1,
            server: ServerName = "daphne",
            **options: Any,
        ) -> Site:
            folder = tmp_path_factory.mktemp("site")
            database = Database(_new_database(request, engine, folder))
            stack.callback(database.close)
            shared = redis if isinstance(redis, Redis) else None
            if redis is True:
                shared = request.getfixturevalue("redis")
            site = Site(folder, database, redis=shared, **options)
            stack.callback(_stop, site)
            for _ in range(workers):
                site.start_worker(server)
            _watched.extend(site.workers)
            return site

        yield make_site


def _new_database(request: pytest.FixtureRequest, engine: Engine, folder: Path) -> str:
    if engine == "sqlite":
        path = folder / "db.sqlite3"
        shutil.copy(request.getfixturevalue("empty_sqlite"), path)
        return f"sqlite:///{path}"
    template = request.getfixturevalue("empty_postgresql")
    postgresql: PostgreSQL = request.getfixturevalue("postgresql")
    return postgresql.create(f"site{next(_numbers)}", template)


def _stop(site: Site) -> None:
    site.stop()
    ended: list[Process] = [worker for worker in site.workers if worker in _watched]
    for process in ended:
        _watched.remove(process)
    Logs().check(ended)
