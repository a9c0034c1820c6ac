"""Fixtures that start real stores and servers. tests/conftest.py offers them to all tests.

A run starts one Redis and one PostgreSQL for each of its processes, and starts them only where a
test asks for them. Each site has a database of its own, copied from a migrated template, and the
code of a room is unique, so the sites do not disturb each other. A test that stops, kills or counts
a store starts one of its own.

Servers and databases are tested in pairs. No test runs all four combinations of the two: a test that
depends on both runs ``PAIRS``. The other two, Daphne with PostgreSQL and uvicorn with SQLite, are in
the tests that depend on one of them, such as ``test_churn.py`` and ``test_clients.py``.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests import scheduling
from tests.integration.database import Database
from tests.integration.processes import Process
from tests.integration.servers import ServerName, Site, migrate
from tests.integration.stores import PostgreSQL, Redis, store_fixture

Engine = Literal["sqlite", "postgresql"]
MakeSite = Callable[..., Site]
BUGS = ("Traceback", "Internal error", "Exception inside application")

PAIRS = [
    pytest.param({"server": "daphne", "engine": "sqlite"}, id="daphne-sqlite"),
    pytest.param({"server": "uvicorn", "engine": "postgresql"}, id="uvicorn-postgresql"),
]

watched: list[Process] = []
"""The servers whose logs are checked after each test."""


class Logs:
    """The output of the servers during one test. A traceback in it fails the test."""

    def __init__(self) -> None:
        self.expected: str | None = None

    def expect(self, text: str) -> None:
        """Expect an error with this text: the test provokes it."""
        self.expected = text

    def check(self, processes: list[Process]) -> None:
        new = {process: process.new_output() for process in processes}
        if self.expected is not None:
            assert any(self.expected in text for text in new.values()), (
                f"no log contains {self.expected!r}: {new}"
            )
            return
        for process, text in new.items():
            assert not any(bug in text for bug in BUGS), f"{process.name} logged a bug:\n{text}"


redis = store_fixture(Redis, "session")
postgresql = store_fixture(PostgreSQL, "session")


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
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[MakeSite]:
    """Return a function that starts a site and its workers. They stop at the end of the module."""
    is_traced = scheduling.is_traced(request.node.nodeid)
    with sites(request, tmp_path_factory, django_db_blocker, is_traced=is_traced) as make_site:
        yield make_site


@contextmanager
def sites(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
    *,
    is_traced: bool,
) -> Iterator[MakeSite]:
    """Yield a function that starts a site and its workers. They stop at the end.

    ``is_traced``: record the coverage of the servers.
    """
    # The databases of sites are not Django's test database; see ``Database``.
    with django_db_blocker.unblock(), ExitStack() as stack:

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
            if not is_traced:
                site.environment.pop("COVERAGE_PROCESS_START", None)
            stack.callback(_stop, site)
            site.start_workers(workers, server)
            watched.extend(site.workers)
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
    ended: list[Process] = [worker for worker in site.workers if worker in watched]
    for process in ended:
        watched.remove(process)
    Logs().check(ended)
