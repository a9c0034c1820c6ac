"""Processes: each pinned to a core, measured from the outside, always stopped at the end."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from glob import glob
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _cores[0], _cores[-1]


class BenchmarkError(Exception):
    """The run cannot continue; the message gives the reason."""


class Process:
    """A program pinned to one core, with its output in a log file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        **options: Any,
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(  # noqa: S603
                command,
                cwd=cwd,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(env or {})},
                stderr=output,
                **{"stdout": output, "stdin": subprocess.DEVNULL, **options},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    @property
    def cpu(self) -> float:
        """CPU seconds so far, of all threads including ended ones (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.popen.pid << 3) | 2)

    @property
    def private_kb(self) -> int:
        """Memory that is not shared with other processes."""
        rollup = Path(f"/proc/{self.popen.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))

    def wait_for_port(self, port: int, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.popen.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise BenchmarkError(f"{self.popen.args!r} does not listen on {port}:\n{self.log_tail()}")

    def log_tail(self, size: int = 2000) -> str:
        return self.log.read_text(errors="replace")[-size:]

    def stop(self) -> None:
        """Kill it: its data is discarded after the run, so no clean shutdown is needed."""
        self.popen.kill()
        self.popen.wait()


def busy_seconds(core: int) -> float:
    """Return how many seconds a core has been busy since boot."""
    lines = Path("/proc/stat").read_text().splitlines()
    ticks = next(line for line in lines if line.startswith(f"cpu{core} ")).split()[1:]
    idle = int(ticks[3]) + int(ticks[4])
    return (sum(map(int, ticks[:8])) - idle) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_file_limit() -> int:
    """Raise the limit of open files for this process and its children; return the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def find_program(name: str) -> str:
    found = shutil.which(name) or next(
        iter(sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"))), None
    )
    if found is None:
        raise BenchmarkError(f"{name} is not installed; scripts/system-packages installs it.")
    return found


def _postgres_user(data: Path) -> dict[str, Any]:
    """Return the options of a process of PostgreSQL, which refuses to run as root."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "cwd": data}


class Stores:
    """A Redis and a PostgreSQL for this run, in a temporary folder, on the loopback interface."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.redis: Process | None = None
        self.postgres: Process | None = None
        self.redis_port = self.postgres_port = 0

    def start_redis(self) -> None:
        """Start Redis on the servers' core; its CPU time is reported separately."""
        if self.redis is None:
            self.redis_port = free_port()
            self.restart_redis()

    def restart_redis(self) -> None:
        """Start an empty Redis on the same port."""
        options = {"bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": str(self.folder)}
        command = [find_program("redis-server"), "--port", str(self.redis_port)]
        for name, value in options.items():
            command += [f"--{name}", value]
        self.redis = Process(command, core=SERVER_CORE, log=self.folder / "redis.log")
        self.stack.callback(self.redis.stop)
        self.redis.wait_for_port(self.redis_port)

    def redis_url(self, database: int) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/{database}"

    def start_postgres(self) -> None:
        """Start PostgreSQL on the load generator's core, so that the servers have theirs alone."""
        if self.postgres_port:
            return
        self.postgres_port = free_port()
        data = self.folder / "postgres"
        data.mkdir()
        if os.getuid() == 0:
            self.folder.chmod(0o711)
            shutil.chown(data, "postgres")
        initdb = Process(
            [find_program("initdb"), "-D", str(data), "-U", "bench", "-A", "trust", "-N"],
            core=LOAD_CORE,
            log=self.folder / "initdb.log",
            **_postgres_user(data),
        )
        if initdb.popen.wait(60):
            raise BenchmarkError(f"initdb failed:\n{initdb.log_tail()}")
        self.restart_postgres()

    def restart_postgres(self) -> None:
        """Start PostgreSQL with the data that it has, on the same port."""
        data = self.folder / "postgres"
        settings = {
            "port": str(self.postgres_port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",  # waiting for the disk is not part of the measurement
        }
        command = [find_program("postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        log = self.folder / "postgres.log"
        self.postgres = Process(command, core=LOAD_CORE, log=log, **_postgres_user(data))
        self.stack.callback(self.postgres.stop)
        self.postgres.wait_for_port(self.postgres_port)

    def create_database(self, name: str, template: str = "template1") -> None:
        command = ["createdb", "-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", "bench"]
        command = [find_program(command[0]), *command[1:], "-T", template, name]
        subprocess.run(command, check=True, timeout=60)  # noqa: S603

    def database_url(self, name: str) -> str:
        return f"postgres://bench@127.0.0.1:{self.postgres_port}/{name}"
