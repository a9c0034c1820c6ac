"""Real servers on this machine, each on an address of its own.

Worker    one Daphne or uvicorn process
Site      a database, perhaps a Redis, and the workers that share them
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, build_opener, urlopen

import pytest
from django.conf import settings
from django.contrib.auth.models import User

from signalling.conf import RATE_LIMITS
from signalling.testing import SignallingCommunicator, access_token
from tests.integration.database import Database
from tests.integration.processes import ROOT, START_TIMEOUT, ClientProcess, Process, eventually
from tests.integration.stores import Redis

ServerName = Literal["daphne", "stock-daphne", "uvicorn", "stock-uvicorn"]
APPLICATION = "signalling_project.asgi:application"
PROGRAMS = {
    "daphne": [sys.executable, "-m", "signalling.servers.daphne"],
    "stock-daphne": [sys.executable, "-m", "daphne"],
    "uvicorn": [sys.executable, "-m", "signalling.servers.uvicorn"],
    "stock-uvicorn": [sys.executable, "-m", "uvicorn", "--ws", "websockets-sansio"],
}

ORIGIN = "http://localhost:5173"
"""The only foreign origin that the sites of these tests allow: the default of ``CLIENT_URL``."""

# Many clients share one address and one user, so the limits are off unless a test sets them.
WITHOUT_LIMITS = {
    "FAILURE_LIMIT": 1_000_000,
    "SHARED_FAILURE_LIMIT": 1_000_000,
    "SEATS_PER_USER": 1_000_000,
    "SOCKETS_PER_USER": 1_000_000,
    "COSTLY_RATE": 100_000.0,
    "FRAME_BURST": 1_000_000,
    "FRAME_RATE": 100_000.0,
    "OFFER_RATE": 100_000.0,
    "RATE_LIMITS": {cost: {} for cost in RATE_LIMITS},
    "VIOLATIONS": 1_000_000,
}


class Worker(Process):
    """One Daphne or uvicorn process, on a socket that was opened for it: no port can be lost to another.

    A client that connects before the worker is up waits in the backlog.
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
        """Start the process. It uses the same port when it is started again."""
        self.launch(*options)
        self.wait_until_up()

    def launch(self, *options: str) -> None:
        """Start the process without waiting until it is up."""
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

    def wait_until_up(self) -> None:
        """Wait until the server answers."""
        self.wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.http_url}/login/", timeout=START_TIMEOUT) as response:
                return bool(response.status == 200)
        except HTTPError as error:
            raise AssertionError(f"{self.name} answers {error}:\n{self.output()}") from error
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
        channel_layer: dict[str, Any] | str | None = None,
        is_spread: bool = False,
    ) -> None:
        """``channel_layer``: another than the site would choose; a string: its class for Redis.
        ``is_spread``: clients that name no
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
            SIGNALLING=json.dumps({**WITHOUT_LIMITS, **(signalling or {})}),
        )
        if isinstance(channel_layer, str):
            self.environment["CHANNEL_LAYER"] = channel_layer
        elif channel_layer is not None:
            self.environment["CHANNEL_LAYERS"] = json.dumps({"default": channel_layer})
        self._turns = itertools.count() if is_spread else itertools.repeat(0)
        self._users: dict[str, User] = {}

    def start_worker(
        self, server: ServerName = "daphne", *options: str, host: str = "127.0.0.1"
    ) -> Worker:
        worker = self._add_worker(server, host)
        worker.start(*options)
        return worker

    def start_workers(self, count: int, server: ServerName = "daphne") -> None:
        """Start ``count`` workers at the same time."""
        workers = [self._add_worker(server) for _ in range(count)]
        for worker in workers:
            worker.launch()
        for worker in workers:
            worker.wait_until_up()

    def _add_worker(self, server: ServerName, host: str = "127.0.0.1") -> Worker:
        worker = Worker(server, self.environment, self.folder / f"{server}-{len(self.workers)}.log")
        worker.host = host
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """Stop all workers. They drain at the same time."""
        for worker in self.workers:
            worker.begin_to_stop()
        for worker in self.workers:
            worker.stop()

    def victim(self, username: str = "alice") -> ClientProcess:
        return ClientProcess(self.worker.url, self.token(username), self.folder)

    @property
    def worker(self) -> Worker:
        """The first worker."""
        return self.workers[0]

    def user(self, username: str) -> User:
        """Return the user with this name; create it on the first call."""
        if username not in self._users:
            self._users[username] = self.database.user(username)
        return self._users[username]

    def token(self, username: str) -> str:
        return access_token(self.user(username))

    def room(self, **fields: Any) -> str:
        """Open a new room and return its code."""
        return self.database.room(**fields)

    def client(
        self, username: str = "alice", *, worker: int | None = None, **options: Any
    ) -> SignallingCommunicator:
        """Return a client that is not connected yet: ``async with site.client("bob")``."""
        if worker is None:
            worker = next(self._turns) % len(self.workers)
        options.setdefault("token", self.token(username))
        url = self.workers[worker].url + options.pop("query", "")
        return SignallingCommunicator(url, name=username, **options)

    def anonymous_client(self, **options: Any) -> SignallingCommunicator:
        """Return a client without a token."""
        return self.client("stranger", token=None, **options)

    def session_cookie(self, username: str) -> str:
        """Sign in through the login form and return the ``Cookie`` header."""
        cookies, page = CookieJar(), f"{self.worker.http_url}/login/"
        browser = build_opener(HTTPCookieProcessor(cookies), _StayHere())
        browser.open(page, timeout=START_TIMEOUT).close()
        form = {"username": username, "password": self.user(username).username}
        form["csrfmiddlewaretoken"] = next(c.value or "" for c in cookies if c.name == "csrftoken")
        with pytest.raises(HTTPError, match="302"):
            browser.open(page, urlencode(form).encode(), timeout=START_TIMEOUT)
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies)

    def run_python(self, python: str) -> None:
        """Run Python code in another process of the site, such as a cron job."""
        command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", python]
        ran = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def wait_until_empty(self, code: str | None = None, *, within: float = 10.0) -> None:
        """Wait until a room, or every room, has neither live rows nor members of its group."""
        eventually(
            lambda: self.database.live_rows(code) == 0, f"the emptiness of {code}", within=within
        )
        redis = self.redis
        if redis is not None:
            eventually(lambda: not redis.has_group(code or ""), f"the group of {code}'s end")


class _StayHere(HTTPRedirectHandler):
    """Follows no redirect: it may lead to a path that only a proxy knows."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def site_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a site: secrets of the tests, and nothing else from this process."""
    names = ("PATH", "HOME", "LANG", "COVERAGE_FILE", "COVERAGE_PROCESS_START")
    kept = {name: os.environ[name] for name in names if name in os.environ}
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
