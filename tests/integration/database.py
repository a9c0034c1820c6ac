"""One migrated database, SQLite or PostgreSQL, and the ORM on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import environ
from django.contrib.auth.models import User
from django.db import connections

from rooms.models import Participant, Room
from rooms.models import Worker as WorkerRow

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """One migrated database: the same tables that the workers use, seen from the test.

    The ORM runs in one thread of its own, so that tests on an event loop may use it too.
    """

    _numbers = itertools.count(1)

    def __init__(self, url: str) -> None:
        self.url = url
        self.alias = f"integration-{next(self._numbers)}"
        config: dict[str, Any] = dict(environ.Env.db_url_config(url))
        if config["ENGINE"].endswith("sqlite3"):
            config["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}
        configured = connections.configure_settings({"default": config})
        connections.settings[self.alias] = configured["default"]
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self.alias)

    @property
    def name(self) -> str:
        """The path of the SQLite file, or the name of the PostgreSQL database."""
        if self.url.startswith("sqlite"):
            return self.url.removeprefix("sqlite:///")
        return self.url.rpartition("/")[2].partition("?")[0]

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that uses the ORM, and hold no connection afterwards."""

        def run() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                connections[self.alias].close()

        return self._thread.submit(run).result(30)

    def user(self, username: str = "", **fields: Any) -> User:
        """Return a new user; the password is the user name."""
        username = username or f"user{next(self._numbers)}"

        def create() -> User:
            user = User(username=username, **fields)
            user.set_password(username)
            user.save(using=self.alias)
            return user

        return self.run(create)

    def room(self, **fields: Any) -> str:
        """Open a room and return its code."""
        return self.run(lambda: Room.objects.using(self.alias).create(**fields).code)

    def save(self, record: User | Room) -> None:
        self.run(lambda: record.save(using=self.alias))

    def change_room(self, code: str, **fields: Any) -> None:
        self.run(lambda: Room.objects.using(self.alias).filter(code=code).update(**fields))

    def live_rows(self, code: str | None = None) -> int:
        """Return how many peers are in a room, or in all rooms, according to the tables."""
        return self._count(code, left_at__isnull=True)

    def left_rows(self, code: str) -> int:
        """Return how many memberships of a room have ended."""
        return self._count(code, left_at__isnull=False)

    def _count(self, code: str | None, **where: Any) -> int:
        if code is not None:
            where["room__code"] = code
        return self.run(Participant.objects.using(self.alias).filter(**where).count)

    def live_peers(self, code: str) -> set[str]:
        """Return the ids of the peers that are in a room."""
        rows = Participant.objects.using(self.alias).filter(room__code=code, left_at__isnull=True)
        return self.run(lambda: set(rows.values_list("peer_id", flat=True)))

    def away_until(self, peer_id: str) -> datetime | None:
        """Return until when a peer keeps its seat without a socket."""
        rows = Participant.objects.using(self.alias).filter(peer_id=peer_id)
        return self.run(rows.get).away_until

    def workers(self) -> int:
        """Return how many serving processes there are, according to the tables."""
        return self.run(WorkerRow.objects.using(self.alias).count)

    def reasons(self, code: str) -> list[str]:
        """Return why the peers of a room have left it, in the order in which they joined."""
        rows = Participant.objects.using(self.alias).filter(room__code=code).order_by("pk")
        return self.run(lambda: list(rows.values_list("reason", flat=True)))

    def close(self) -> None:
        self._thread.shutdown()
        del connections.settings[self.alias]


@contextmanager
def default_database(url: str) -> Iterator[None]:
    """Use another database as Django's default one."""
    configured = connections.configure_settings({"default": environ.Env.db_url_config(url)})
    settings, connection = connections.settings["default"], connections["default"]
    connections.settings["default"] = configured["default"]
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections.settings["default"], connections["default"] = settings, connection
