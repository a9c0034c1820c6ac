"""Redis and PostgreSQL on Unix sockets in temporary folders, so that they need no ports."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from redis import Redis as RedisClient
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.integration.processes import Process, require

Scope = Literal["session", "module", "function"]


class Redis(Process):
    """A Redis without persistence, on a Unix socket."""

    def __init__(self, folder: Path) -> None:
        super().__init__("redis-server", folder / "redis.log")
        self.program = require("redis-server", "redis-server")
        # Not in pytest's folder: the path of a Unix socket has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="signalling-redis-"))
        self.url = f"unix://{self.folder}/socket"
        self.client = RedisClient.from_url(self.url, decode_responses=True)

    def start(self) -> None:
        path = self.folder / "socket"
        path.unlink(missing_ok=True)
        options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        self.spawn([self.program, *options, "--dir", str(self.folder)])
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisConnectionError:
            return False

    def has_group(self, code: str) -> bool:
        """Return whether a worker is subscribed to a room."""
        return bool(self.client.pubsub_channels(f"*room.{code}*"))

    def remove(self) -> None:
        self.client.close()
        self.stop()
        shutil.rmtree(self.folder)


class PostgreSQL(Process):
    """A cluster on a Unix socket in its own folder. It trusts every connection.

    initdb and the server refuse to be root, so root runs them as ``postgres``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("postgres", folder / "postgres.log")
        self.initdb = require("initdb", "postgresql")
        self.folder = Path(tempfile.mkdtemp(prefix="signalling-pg-"))
        self.folder.chmod(0o755)
        self.identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self.identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._create()

    def _create(self) -> None:
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [self.initdb, "-D", str(self.folder / "data"), *options, "--no-sync"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
            **self.identity,
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def start(self) -> None:
        server = str(Path(self.initdb).with_name("postgres"))
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "100",
            "fsync": "off",
            "full_page_writes": "off",
        }
        flags = [flag for key, value in options.items() for flag in ("-c", f"{key}={value}")]
        data = str(self.folder / "data")
        self.spawn([server, "-D", data, *flags], cwd="/", **self.identity)
        self.wait_until(self._answers)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop at once. SIGTERM would wait for the last client to disconnect."""
        super().stop(number)

    def _answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname=database, autocommit=True
        )

    def url(self, database: str) -> str:
        return f"postgres:///{self.folder}/{database}?user=postgres"

    def create(self, database: str, template: str = "template1") -> str:
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"'.encode())
        return self.url(database)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


@contextmanager
def running(process: Redis | PostgreSQL) -> Iterator[Any]:
    """Start a store, and remove it afterwards."""
    process.start()
    try:
        yield process
    finally:
        process.remove()


def store_fixture(store: type[Redis] | type[PostgreSQL], scope: Scope = "module") -> Any:
    """Return a fixture that starts a store and removes it.

    A test that stops, kills or counts a store needs one that no other test uses.
    """

    @pytest.fixture(scope=scope)
    def fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        with running(store(tmp_path_factory.mktemp(store.__name__.lower()))) as started:
            yield started

    return fixture
