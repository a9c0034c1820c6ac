"""Fixtures and helpers that several packages of tests share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from channels.layers import channel_layers
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection
from django.db.models.signals import post_migrate
from django.test.utils import CaptureQueriesContext
from rest_framework_simplejwt.tokens import AccessToken

from rooms import failures, services
from rooms.api.throttling import requests
from rooms.clock import clock
from rooms.models import Room
from rooms.services import Joined
from signalling.peers.replies import tracebacks
from tests import scheduling, tracing
from tests.effort import effort
from tests.integration.fixtures import (
    empty_postgresql,
    empty_sqlite,
    make_site,
    postgresql,
    redis,
)
from tests.wheels import wheel

__all__ = ["empty_postgresql", "empty_sqlite", "make_site", "postgresql", "redis", "wheel"]

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

hypothesis.settings.register_profile("effort", max_examples=effort(100))
hypothesis.settings.load_profile("effort")

PASSWORD = "correct horse"
Enter = Callable[..., Joined]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return scheduling.make_scheduler(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=scheduling.sort_key)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use a database file, as in production: SQLite's shared memory ignores the busy timeout."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("db") / "db.sqlite3")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Keep content types and permissions when a test that commits empties the tables.

    Django would create their rows again after each of these tests, which takes most of their time.
    """
    with pytest.MonkeyPatch.context() as patch:
        introspection = connection.introspection
        names = introspection.django_table_names
        patch.setattr(
            introspection,
            "django_table_names",
            lambda *args, **kwargs: [
                name
                for name in names(*args, **kwargs)
                if name not in {ContentType._meta.db_table, Permission._meta.db_table}
            ],
        )
        patch.setattr(post_migrate, "receivers", [])
        yield


@pytest.fixture(autouse=True)
def clear_caches() -> None:
    """Start with empty throttles, an unread clock, and a channel layer on this test's event loop.

    No traceback has been logged.
    """
    failures.store.clear()
    requests.clear()
    clock.reset()
    tracebacks.reset()
    cache.clear()
    channel_layers.backends.clear()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    tracing.start_with_next_process(config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node() -> None:
    os.environ.pop(tracing.AT_START, None)  # one process is enough


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if scheduling.is_traced(item.nodeid):
        tracing.start()
        return (yield)
    with tracing.paused():
        return (yield)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Record no coverage: it makes a test of thousands of small inputs several times slower."""
    with tracing.paused():
        yield


@pytest.fixture
def stopped_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of caches and of failure counters, for tests of what a second changes."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", password=PASSWORD)


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", password=PASSWORD)


@pytest.fixture
def room(alice: User) -> Room:
    """The room ABC123, hosted by alice."""
    return services.open_room(host=alice, name="Tea", code="ABC123")


@pytest.fixture
def enter() -> Enter:
    """Return a function that gives a user a seat in a room, as the join of a socket does."""
    numbers = iter(range(1, 1000))

    def enter(user: User, room: Room | str = "ABC123", **options: Any) -> Joined:
        number = next(numbers)
        arguments = {"peer_id": f"peer_{number}", "channel_name": f"channel!{number}", **options}
        code = room if isinstance(room, str) else room.code
        return services.join(code=code, user=user, **arguments)

    return enter


def access_token(user: User) -> str:
    return str(AccessToken.for_user(user))


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list. On exit it has the SQL that was run, without the control of transactions."""
    executed: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield executed
    transaction_control = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    executed += [
        query["sql"] for query in captured if not query["sql"].startswith(transaction_control)
    ]
