"""What the unit tests share. tests/browser and tests/integration have their own beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from channels.layers import channel_layers
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework_simplejwt.tokens import AccessToken

from rooms import services
from rooms.models import Room
from rooms.services import Joined
from signalling.throttling import failures
from tests import scheduling
from tests.integration.fixtures import (
    empty_postgresql,
    empty_sqlite,
    make_site,
    postgresql,
    redis,
)

__all__ = ["empty_postgresql", "empty_sqlite", "make_site", "postgresql", "redis"]

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

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
    """A file, as in production: threads that share SQLite's memory do not wait for each other."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("db") / "db.sqlite3")


@pytest.fixture(autouse=True)
def no_memory_of_other_tests() -> None:
    """Begin with empty throttles, and with a channel layer of this test's own event loop."""
    failures._throttle.cache_clear()
    cache.clear()
    channel_layers.backends.clear()


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", password=PASSWORD)


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob", password=PASSWORD)


@pytest.fixture
def room(alice: User) -> Room:
    """ABC123; alice is its host."""
    return services.open_room(host=alice, name="Tea", code="ABC123")


@pytest.fixture
def enter() -> Enter:
    """Return a function that seats a user in a room, as a socket of theirs would be."""
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
    """Give the SQL that was run inside, without what only begins and ends transactions."""
    said: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield said
    bracket = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    said += [query["sql"] for query in captured if not query["sql"].startswith(bracket)]
