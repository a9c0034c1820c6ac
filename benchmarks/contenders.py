"""The servers that are compared, ours and others. Each is one entry of a table."""

from __future__ import annotations

import itertools
import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.processes import (
    HERE,
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    BenchmarkError,
    Process,
    Stores,
    find_program,
    free_port,
)

PEERS = HERE / "peers"
Command = Callable[[int], list[str]]


def node(program: str) -> Command:
    return lambda port: [find_program("node"), str(PEERS / program), str(port)]


def daphne(application: str, *options: str) -> Command:
    module = "signalling.servers.daphne" if application == OURS else "daphne"
    python = [sys.executable, "-m", module, "-v", "0", "-b", "127.0.0.1", *options]
    return lambda port: [*python, "-p", str(port), application]


def uvicorn(application: str) -> Command:
    options = "--loop uvloop --no-access-log --log-level warning --backlog 4096"
    python = [sys.executable, "-m", "signalling.servers.uvicorn", *options.split()]
    return lambda port: [*python, "--port", str(port), application]


@dataclass(frozen=True)
class Contender:
    """How to start one server, and the wire format it speaks (see load/wires.mjs)."""

    label: str
    command: Command
    wire: str = "json"
    path: str = "/"
    is_ours: bool = False
    is_on_request: bool = False
    """Only measured if ``--peers`` names it."""
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT


OURS = "signalling_project.asgi:application"


def ours(server: str, command: Command, **options: Any) -> Contender:
    label = f"**django-signalling**, {server}"
    return Contender(label, command, path="/ws/signalling/", is_ours=True, **options)


def stock(label: str, layer: str) -> Contender:
    command = daphne("asgi:application")
    return Contender(
        label, command, path="/ws/", env={"LAYER": layer}, cwd=PEERS / "stock_channels"
    )


ONE_PROCESS = {
    "uvicorn": ours("uvicorn", uvicorn(OURS)),
    "daphne": ours("Daphne", daphne(OURS)),
    "nest": Contender("NestJS 11 gateway on socket.io", node("nest/dist/main.js"), "socketio"),
    "socketio": Contender("bare socket.io 4.8", node("socketio.mjs"), "socketio"),
    "peerjs": Contender("PeerJS server 1.0", node("peerjs.mjs"), "peerjs"),
    "ws": Contender("bare ws 8 (no identity, no checks)", node("ws.mjs")),
    "stock": stock("stock Channels, Daphne", "channels.layers.InMemoryChannelLayer"),
}
TWO_PROCESSES = {
    "uvicorn": ours("uvicorn", uvicorn(OURS)),
    "unsigned": ours(
        "uvicorn, without signatures",
        uvicorn(OURS),
        is_on_request=True,
        env={"DJANGO_SETTINGS_MODULE": "benchmarks.unsigned_settings"},
    ),
    "daphne": ours("Daphne", daphne(OURS)),
    "socketio": Contender("socket.io + Redis adapter", node("socketio.mjs"), "socketio"),
    "stock-pubsub": stock(
        "stock Channels, Daphne, channels_redis pub/sub",
        "channels_redis.pubsub.RedisPubSubChannelLayer",
    ),
    "stock-core": stock(
        "stock Channels, Daphne, channels_redis core", "channels_redis.core.RedisChannelLayer"
    ),
}


class Site:
    """The environment of our servers: secrets, a prepared database, raised rate limits."""

    TEMPLATE = "prepared"

    def __init__(self, stores: Stores, extra_env: dict[str, str]) -> None:
        self.stores = stores
        self.extra_env = extra_env
        self.base_env = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "JWT_SIGNING_KEY": secrets.token_urlsafe(48),
            "DJANGO_SETTINGS_MODULE": "signalling_project.settings",
            "ENV_FILE": "/dev/null",
            "ACCESS_TOKEN_MINUTES": "600",
            "HTTPS": "off",
            "CLIENT_URL": "",
            "LOG_LEVEL": "WARNING",
        }

    @cached_property
    def prepared(self) -> dict[str, str]:
        """The token from ``prepare.py``, and the raised limits as the variable SIGNALLING."""
        self.stores.start_postgres()
        self.stores.create_database(self.TEMPLATE)
        env = self.base_env | {"DATABASE_URL": self.stores.database_url(self.TEMPLATE)}
        log = self.stores.folder / "prepare.log"
        command = [sys.executable, "-m", "benchmarks.prepare"]
        process = Process(command, core=LOAD_CORE, log=log, env=env, stdout=subprocess.PIPE)
        output, _ = process.popen.communicate(timeout=120)
        if process.popen.returncode:
            raise BenchmarkError(f"preparing the database failed:\n{process.log_tail()}")
        answer = json.loads(output)
        return {"token": answer["token"], "SIGNALLING": json.dumps(answer["limits"])}

    def env(self, database: str) -> dict[str, str]:
        """Return the environment for a server, with a new database."""
        signalling = self.prepared["SIGNALLING"]
        self.stores.create_database(database, self.TEMPLATE)
        url = self.stores.database_url(database)
        return {**self.base_env, "DATABASE_URL": url, "SIGNALLING": signalling, **self.extra_env}


class Server:
    """A running contender: one process, or several that share a Redis."""

    _count = 0
    _starts = itertools.count(1)

    def __init__(
        self, contender: Contender, site: Site, stores: Stores, processes: int, stack: ExitStack
    ) -> None:
        Server._count += 1
        self.contender = contender
        self.token = site.prepared["token"]
        self.database = f"server_{self._count}"
        self.ports = [free_port() for _ in range(processes)]
        env = site.env(self.database) if contender.is_ours else dict(site.base_env)
        env |= contender.env
        self.redis = None
        if processes > 1:
            stores.start_redis()
            self.redis = stores.redis
            env["REDIS_URL"] = stores.redis_url(self._count % 16)
        self._env = env
        self._stack = stack
        self._folder = stores.folder
        self.processes = [self._start(port) for port in self.ports]
        for process, port in zip(self.processes, self.ports, strict=True):
            process.wait_for_port(port)

    def _start(self, port: int) -> Process:
        process = Process(
            self.contender.command(port),
            core=SERVER_CORE,
            log=self._folder / f"server-{port}-{next(self._starts)}.log",
            env=self._env,
            cwd=self.contender.cwd,
        )
        self._stack.callback(process.stop)
        return process

    def restart(self, number: int) -> None:
        """Start a process that has exited, on the same port, and wait until it listens."""
        self.processes[number] = self._start(self.ports[number])
        self.processes[number].wait_for_port(self.ports[number])

    @property
    def cpu(self) -> float:
        return sum(process.cpu for process in self.processes)

    @property
    def redis_cpu(self) -> float:
        return self.redis.cpu if self.redis else 0.0

    @property
    def private_kb(self) -> int:
        return sum(process.private_kb for process in self.processes)

    def log_tail(self) -> str:
        return "\n".join(process.log_tail() for process in self.processes)
