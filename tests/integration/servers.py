"""Real servers on this machine, each started on an address of its own and stopped by its own pid.

PostgreSQL, Redis     the stores, on Unix sockets in a folder of their own: no port, no port race
Database              one migrated database, SQLite or PostgreSQL, and the ORM on it
Worker                one Daphne or uvicorn process
Site                  a database, perhaps a Redis, and the workers that share them
"""

from __future__ import annotations

import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener, urlopen

import environ
import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections
from redis import Redis as RedisClient

from rooms.models import Participant, Room
from rooms.models import Worker as WorkerRow
from signalling.testing import SignallingCommunicator, access_token

P = ParamSpec("P")
T = TypeVar("T")
ServerName = Literal["daphne", "stock-daphne", "uvicorn", "stock-uvicorn"]
APPLICATION = "signalling_project.asgi:application"
PROGRAMS = {
    "daphne": [sys.executable, "-m", "signalling.servers.daphne"],
    "stock-daphne": [sys.executable, "-m", "daphne"],
    "uvicorn": [sys.executable, "-m", "signalling.servers.uvicorn"],
    "stock-uvicorn": [sys.executable, "-m", "uvicorn", "--ws", "websockets-sansio"],
}

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0
BUGS = ("Traceback", "Internal error", "Exception inside application")
ORIGIN = "http://localhost:5173"
"""The one foreign origin that the sites of these tests allow: the default of ``CLIENT_URL``."""

# One address and one user stand for many people here, so nobody is slowed down unless a test asks.
GENEROUS = {
    "FAILURE_LIMIT": 1_000_000,
    "COSTLY_RATE": 100_000.0,
    "FRAME_BURST": 1_000_000,
    "FRAME_RATE": 100_000.0,
    "OFFER_RATE": 100_000.0,
    "VIOLATIONS": 1_000_000,
}


def eventually(check: Callable[[], T], what: str = "", *, within: float = 10.0) -> T:
    """Return the first true value of ``check``."""
    deadline = time.monotonic() + within
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what or check} is still {value!r} after {within} s"
        time.sleep(0.01)
    return value


def require(program: str, package: str) -> str:
    """Return the path of a program; without it skip the test loudly, or fail in CI."""
    versions = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{program}"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    found = shutil.which(program) or (str(versions[-1]) if versions else None)
    if found is not None:
        return found
    reason = f"{program} is not installed: sudo apt-get install --no-install-recommends {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Process:
    """A process of ours: started, stopped by its own pid, its output in a file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._checked_to = 0

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self, command: list[str], **options: Any) -> None:
        options.setdefault("stdin", subprocess.DEVNULL)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **options)

    def signals(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        assert self._process is not None
        self._process.send_signal(number)

    def ends(self, *, within: float = STOP_TIMEOUT) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self._process is not None
        return self._process.wait(within)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process if it still runs; one that does not end in time is killed and reported."""
        if self._process is None or self._process.poll() is not None:
            return
        self.signals(signal.SIGCONT)
        self.signals(number)
        try:
            self.ends()
        except subprocess.TimeoutExpired:
            self.signals(signal.SIGKILL)
            self.ends()
            raise AssertionError(f"{self.name} did not end:\n{self.text()}") from None

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def news(self) -> str:
        """Return what was logged since the last time that it was looked at."""
        text = self.text()
        news, self._checked_to = text[self._checked_to :], len(text)
        return news

    def wait_until(self, check: Callable[[], bool]) -> None:
        """Wait until ``check`` says that the process is up, or fail with what it logged."""

        def is_up() -> bool:
            assert self.is_running, f"{self.name} ended at its start:\n{self.text()}"
            return check()

        eventually(is_up, f"the start of {self.name}", within=START_TIMEOUT)


class Victim(Process):
    """A client in a process of its own, to be killed; it sends the lines that it is told."""

    SCRIPT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], additional_headers={"Authorization": "Bearer " + sys.argv[2]}) as socket:
    for line in sys.stdin:
        socket.send(line)
"""

    def __init__(self, url: str, token: str, folder: Path, *prefix: str) -> None:
        """``prefix``: a command that runs it, such as ``ip netns exec NAME``."""
        super().__init__("victim", folder / "victim.log")
        command = [*prefix, sys.executable, "-c", self.SCRIPT, url, token]
        self.spawn(command, stdin=subprocess.PIPE)

    def says(self, event: str, **data: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"event": event, "data": data}).encode() + b"\n")
        self._process.stdin.flush()

    def is_killed(self) -> None:
        assert self._process is not None
        self.signals(signal.SIGKILL)
        self.ends()
        if self._process.stdin is not None:
            self._process.stdin.close()


# --- Stores -------------------------------------------------------------------------------------


class Redis(Process):
    """A Redis that keeps nothing, on a Unix socket."""

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
        self.wait_until(path.exists)

    def has_group(self, code: str) -> bool:
        """Tell whether any worker still listens to a room."""
        return bool(self.client.pubsub_channels(f"*room.{code}*"))

    def remove(self) -> None:
        self.client.close()
        self.stop()
        shutil.rmtree(self.folder)


class PostgreSQL(Process):
    """A cluster with trust for everybody who reaches its Unix socket, which lies in its own folder.

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
        """Stop at once, and not when the last client has gone (SIGTERM)."""
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


# --- A database and the ORM on it -----------------------------------------------------------------


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
        """The path of the file, or what PostgreSQL calls it."""
        if self.url.startswith("sqlite"):
            return self.url.removeprefix("sqlite:///")
        return self.url.rpartition("/")[2].partition("?")[0]

    def does(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
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

        return self.does(create)

    def room(self, **fields: Any) -> str:
        """Open a room and return its code."""
        return self.does(lambda: Room.objects.using(self.alias).create(**fields).code)

    def save(self, record: User | Room) -> None:
        self.does(lambda: record.save(using=self.alias))

    def change_room(self, code: str, **fields: Any) -> None:
        self.does(lambda: Room.objects.using(self.alias).filter(code=code).update(**fields))

    def live_rows(self, code: str | None = None) -> int:
        """Return how many peers are in a room, or in all, according to the tables."""
        return self._count(code, left_at__isnull=True)

    def left_rows(self, code: str) -> int:
        """Return how many memberships of a room have ended."""
        return self._count(code, left_at__isnull=False)

    def _count(self, code: str | None, **where: Any) -> int:
        if code is not None:
            where["room__code"] = code
        return self.does(Participant.objects.using(self.alias).filter(**where).count)

    def live_peers(self, code: str) -> set[str]:
        """Return the ids of the peers that are in a room."""
        rows = Participant.objects.using(self.alias).filter(room__code=code, left_at__isnull=True)
        return self.does(lambda: set(rows.values_list("peer_id", flat=True)))

    def workers(self) -> int:
        """Return how many serving processes there are, according to the tables."""
        return self.does(WorkerRow.objects.using(self.alias).count)

    def reasons(self, code: str) -> list[str]:
        """Return why the peers of a room have left it, in the order in which they joined."""
        rows = Participant.objects.using(self.alias).filter(room__code=code).order_by("pk")
        return self.does(lambda: list(rows.values_list("reason", flat=True)))

    def close(self) -> None:
        self._thread.shutdown()
        del connections.settings[self.alias]


# --- Workers --------------------------------------------------------------------------------------


class Worker(Process):
    """One Daphne or uvicorn process, on a socket that was opened for it: no port can be lost to another.

    A client that comes before the worker is up waits in the socket's queue.
    """

    def __init__(self, server: ServerName, environment: dict[str, str], log: Path) -> None:
        super().__init__(server, log)
        self.environment = environment
        self.host = "127.0.0.1"
        self.port = 0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def http_url(self) -> str:
        return f"http://{self.address}"

    @property
    def url(self) -> str:
        return f"ws://{self.address}/ws/signalling/"

    def start(self, *options: str) -> None:
        """Start the process; a second start, after its end, is on the same port."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(1024)
            self.port = listener.getsockname()[1]
            descriptor = listener.fileno()
            self.spawn(
                [
                    *PROGRAMS[self.name],
                    "--fd",
                    str(descriptor),
                    *options,
                    APPLICATION,
                ],
                cwd=ROOT,
                env=self.environment,
                pass_fds=[descriptor],
            )
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.http_url}/login/", timeout=START_TIMEOUT) as response:
                return bool(response.status == 200)
        except HTTPError as error:
            raise AssertionError(f"{self.name} answers {error}:\n{self.text()}") from error
        except OSError:  # it ended, which the caller reports
            return False


class Site:
    """A deployment: one database, perhaps a Redis, and the workers that share them."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        redis: Redis | None = None,
        signalling: dict[str, Any] | None = None,
        channel_layer: dict[str, Any] | None = None,
        is_spread: bool = False,
    ) -> None:
        """``channel_layer``: another than the site would choose; ``is_spread``: clients that name no
        worker take turns, else they are at the first.
        """
        self.folder = folder
        self.database = database
        self.redis = redis
        self.workers: list[Worker] = []
        self.environment = site_environment(
            DATABASE_URL=database.url,
            REDIS_URL=redis.url if redis else "",
            ALLOWED_HOSTS="*",
            CLIENT_URL=ORIGIN,
            SIGNALLING=json.dumps({**GENEROUS, **(signalling or {})}),
            CHANNEL_LAYERS=json.dumps({"default": channel_layer} if channel_layer else {}),
        )
        self._turns = itertools.count() if is_spread else itertools.repeat(0)
        self._users: dict[str, User] = {}

    def start_worker(
        self, server: ServerName = "daphne", *options: str, host: str = "127.0.0.1"
    ) -> Worker:
        log = self.folder / f"{server}-{len(self.workers)}.log"
        worker = Worker(server, self.environment, log)
        worker.host = host
        self.workers.append(worker)
        worker.start(*options)
        return worker

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()

    def victim(self, username: str = "alice") -> Victim:
        return Victim(self.worker.url, self.token(username), self.folder)

    @property
    def worker(self) -> Worker:
        """The first worker."""
        return self.workers[0]

    def user(self, username: str) -> User:
        """Return the user of this name, who is created when he is first named."""
        if username not in self._users:
            self._users[username] = self.database.user(username)
        return self._users[username]

    def token(self, username: str) -> str:
        return access_token(self.user(username))

    def room(self, **fields: Any) -> str:
        """Open a room of a test's own and return its code."""
        return self.database.room(**fields)

    def client(
        self, username: str = "alice", *, worker: int | None = None, **options: Any
    ) -> SignallingCommunicator:
        """Return a client of a user that is not yet connected: ``async with site.client("bob")``."""
        if worker is None:
            worker = next(self._turns) % len(self.workers)
        options.setdefault("token", self.token(username))
        url = self.workers[worker].url + options.pop("query", "")
        return SignallingCommunicator(url, name=username, **options)

    def stranger(self, **options: Any) -> SignallingCommunicator:
        """Return a client that brings no token."""
        return self.client("stranger", token=None, **options)

    def session_cookie(self, username: str) -> str:
        """Sign in by the form and return the ``Cookie`` header of that browser."""
        cookies, page = CookieJar(), f"{self.worker.http_url}/login/"
        browser = build_opener(HTTPCookieProcessor(cookies))
        browser.open(page, timeout=START_TIMEOUT).close()
        form = {"username": username, "password": self.user(username).username}
        form["csrfmiddlewaretoken"] = next(c.value or "" for c in cookies if c.name == "csrftoken")
        browser.open(page, urlencode(form).encode(), timeout=START_TIMEOUT).close()
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies)

    def runs(self, python: str) -> None:
        """Run Python in a process of the site, as a cron job or a shell of it would."""
        command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", python]
        ran = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def is_empty(self, code: str | None = None, *, within: float = 10.0) -> None:
        """Wait until nobody is in a room (or in any) any more: no row, no member of its group."""
        eventually(
            lambda: self.database.live_rows(code) == 0, f"the emptiness of {code}", within=within
        )
        redis = self.redis
        if redis is not None:
            eventually(lambda: not redis.has_group(code or ""), f"the group of {code}'s end")


def site_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a site: the tests' own secrets, nothing else of what is around us."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "ENV_FILE": os.devnull,
        "SECRET_KEY": settings.SECRET_KEY,
        "JWT_SIGNING_KEY": str(settings.SIMPLE_JWT["SIGNING_KEY"]),
        "HTTPS": "off",
        "PYTHONUNBUFFERED": "1",
        **variables,
    }


def migrate(url: str) -> None:
    """Run ``manage.py migrate`` on a database."""
    migrated = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=site_environment(DATABASE_URL=url),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr


@contextmanager
def running(process: Redis | PostgreSQL) -> Iterator[Any]:
    """Start a store, and remove it afterwards."""
    process.start()
    try:
        yield process
    finally:
        process.remove()
