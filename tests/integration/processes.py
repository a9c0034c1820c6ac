"""Processes that the tests start, and stop by their own pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


def eventually(check: Callable[[], T], what: str = "", *, within: float = 10.0) -> T:
    """Poll ``check`` and return its first true value."""
    deadline = time.monotonic() + within
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what or check} is still {value!r} after {within} s"
        time.sleep(0.05)  # a check may cost a connection to a store
    return value


def require(program: str, package: str) -> str:
    """Return the path of a program. If it is missing, skip the test, or fail it in CI."""
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
    """A process that a test starts. Its output goes to a file; it is stopped by its own pid."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
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
        self._is_stopping = False
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, **options)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to this process, and not to its children."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, *, within: float = STOP_TIMEOUT) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self._process is not None
        return self._process.wait(within)

    def begin_to_stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to end if it still runs, once, and do not wait for it."""
        if self.is_running and not self._is_stopping:
            self._is_stopping = True
            self.send_signal(signal.SIGCONT)
            self.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the process if it still runs. Kill and report one that does not end in time."""
        if not self.is_running:
            return
        self.begin_to_stop(number)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            self.wait()
            raise AssertionError(f"{self.name} did not end:\n{self.output()}") from None

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def new_output(self) -> str:
        """Return what was logged since the last call."""
        text = self.output()
        new, self._checked_to = text[self._checked_to :], len(text)
        return new

    def wait_until(self, check: Callable[[], bool]) -> None:
        """Wait until ``check`` is true. If the process ends before, fail with its output."""

        def is_up() -> bool:
            assert self.is_running, f"{self.name} ended at its start:\n{self.output()}"
            return check()

        eventually(is_up, f"the start of {self.name}", within=START_TIMEOUT)


class ClientProcess(Process):
    """A client in its own process, so that it can be killed."""

    SCRIPT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], additional_headers={"Authorization": "Bearer " + sys.argv[2]}) as socket:
    for line in sys.stdin:
        socket.send(line)
"""

    def __init__(self, url: str, token: str, folder: Path, *prefix: str) -> None:
        """``prefix`` is a command that runs the client, such as ``ip netns exec NAME``."""
        super().__init__("victim", folder / "victim.log")
        command = [*prefix, sys.executable, "-c", self.SCRIPT, url, token]
        self.spawn(command, stdin=subprocess.PIPE)

    def send(self, event: str, **data: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"event": event, "data": data}).encode() + b"\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        assert self._process is not None
        self.send_signal(signal.SIGKILL)
        self.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
