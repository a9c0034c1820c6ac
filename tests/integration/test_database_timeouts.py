"""The time-outs of PostgreSQL that the threads of the app set where the site has not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import environ
import pytest
from django.db import OperationalError, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from pytest_django.plugin import DjangoDbBlocker

from signalling.database.probe import sever
from signalling.database.timeouts import limited
from tests.integration.processes import eventually
from tests.integration.stores import PostgreSQL

UNSET = {"statement_timeout": "0", "lock_timeout": "0"}
OURS = {"statement_timeout": "2s", "lock_timeout": "500ms"}
POOL = {"min_size": 1, "max_size": 1, "timeout": 10}


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Allow connections to another database than Django's test database."""
    with django_db_blocker.unblock():
        yield


@contextmanager
def connected(
    postgresql: PostgreSQL, options: dict[str, Any] | None = None, **settings: Any
) -> Iterator[DatabaseWrapper]:
    """Let this thread use a connection to PostgreSQL as the default one."""
    config: Any = {**environ.Env.db_url_config(postgresql.url("postgres")), **settings}
    config.setdefault("OPTIONS", {}).update(options or {})
    (configured,) = connections.configure_settings({"default": config}).values()
    wrapper = connections["default"] = DatabaseWrapper(configured, "default")
    try:
        yield wrapper
    finally:
        wrapper.close()
        wrapper.close_pool()


def timeouts(wrapper: DatabaseWrapper) -> dict[str, str]:
    with wrapper.cursor() as cursor:
        cursor.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
            [list(UNSET)],
        )
        return dict(cursor.fetchall())


def in_thread(function: Callable[[], None]) -> None:
    """Run a function in a thread of its own, which has connections of its own. Raise its error."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    for error in errors:
        raise error


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, OURS),
        ({"options": "-c statement_timeout=0"}, OURS | {"statement_timeout": "0"}),
        ({"options": "-c lock_timeout=3s"}, OURS | {"lock_timeout": "3s"}),
        (
            {"options": "-c lock_timeout=3s -c statement_timeout=9s"},
            {"lock_timeout": "3s", "statement_timeout": "9s"},
        ),
    ],
)
def test_the_time_outs_of_the_site_count(
    postgresql: PostgreSQL, options: dict[str, Any], expected: dict[str, str]
) -> None:
    def check() -> None:
        with connected(postgresql, options) as wrapper, limited():
            assert timeouts(wrapper) == expected

    in_thread(check)


def test_the_time_outs_of_a_role_count(postgresql: PostgreSQL) -> None:
    def check() -> None:
        with postgresql.connect("postgres") as connection:
            connection.execute("CREATE ROLE patient LOGIN")
            connection.execute("ALTER ROLE patient SET lock_timeout = '3s'")
        with connected(postgresql, USER="patient") as wrapper, limited():
            assert timeouts(wrapper) == OURS | {"lock_timeout": "3s"}

    in_thread(check)


def test_other_users_of_a_pool_keep_theirs(postgresql: PostgreSQL) -> None:
    def check() -> None:
        with connected(postgresql, {"pool": POOL}) as wrapper:
            for _ in range(2):
                with limited():
                    assert timeouts(wrapper) == OURS
                wrapper.close()
                assert timeouts(wrapper) == UNSET
                wrapper.close()

    in_thread(check)


def test_a_thread_is_freed_by_severing_its_connection(postgresql: PostgreSQL) -> None:
    used: SimpleQueue[DatabaseWrapper] = SimpleQueue()
    freed = threading.Event()

    def wait() -> None:
        with connected(postgresql) as wrapper, wrapper.cursor() as cursor:
            used.put(wrapper)
            with pytest.raises(OperationalError):
                cursor.execute("SELECT pg_sleep(20)")
            freed.set()

    def sever_it() -> bool:
        sever(wrapper.connection)
        return freed.is_set()

    thread = threading.Thread(target=wait)
    thread.start()
    wrapper = used.get(timeout=10)
    eventually(sever_it, "the end of the statement")
    thread.join(10)


def test_pgbouncer_is_left_alone(postgresql: PostgreSQL) -> None:
    def check() -> None:
        with connected(postgresql, DISABLE_SERVER_SIDE_CURSORS=True) as wrapper, limited():
            assert timeouts(wrapper) == UNSET

    in_thread(check)
