"""The server for these tests: `make demo` itself, with its own database."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from signalling_project import janus

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 120  # a clean clone first creates its environment


@dataclass
class Demo:
    """The output of `make demo`, and the REST API that it gives access to."""

    url: str
    passwords: dict[str, str]
    folder: Path = ROOT
    room: str = "ABC123"
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def socket_url(self) -> str:
        return self.url.replace("http://", "ws://") + "/ws/signalling/"

    def token(self, username: str) -> str:
        if username not in self._tokens:
            sign_in = {"username": username, "password": self.passwords[username]}
            self._tokens[username] = self._post("/api/token/", sign_in)["access"]
        return self._tokens[username]

    def open_room(self, *, p2p_limit: int = 10) -> str:
        """Create a room for one test, so that tests do not meet each other's peers."""
        answer = self._post("/api/rooms/", {}, Authorization=f"Bearer {self.token('alice')}")
        code = str(answer["code"])
        with sqlite3.connect(self.folder / "db.sqlite3", timeout=20) as database:
            change = "UPDATE signalling_rooms_room SET p2p_limit = ? WHERE code = ?"
            database.execute(change, (p2p_limit, code))
        database.close()
        return code

    def kill_janus(self) -> None:
        """Kill the Janus that `make demo-sfu` started."""
        assert self._end(signal.SIGKILL), "Janus is not running"

    def start_janus(self) -> None:
        """Start Janus again, on the same port."""
        with (self.folder / "janus" / "log").open("ab") as log:
            command = [janus.PROGRAM, "--configs-folder", str(self.folder / "janus")]
            subprocess.Popen(command, stdout=log, stderr=log)

    def stop_janus(self) -> None:
        """Stop a Janus that was started again."""
        self._end(signal.SIGTERM)

    def _end(self, ending: signal.Signals) -> bool:
        """Send the signal and wait for the end. Return whether Janus was running."""
        janus = self._janus()
        if janus is None:
            return False
        janus.send_signal(ending)
        # Not psutil's wait(): the server is the parent process and leaves a zombie.
        pause, deadline = threading.Event(), time.monotonic() + 10
        while self._janus() is not None:
            assert time.monotonic() < deadline, "Janus did not stop"
            pause.wait(0.05)
        return True

    def _janus(self) -> psutil.Process | None:
        folder = str(self.folder / "janus")
        for process in psutil.process_iter(["cmdline", "status"]):
            is_gone = process.info["status"] == psutil.STATUS_ZOMBIE
            if not is_gone and folder in (process.info["cmdline"] or ()):
                return process
        return None

    def _post(self, path: str, data: dict[str, Any], **headers: str) -> Any:
        headers["Content-Type"] = "application/json"
        request = Request(self.url + path, json.dumps(data).encode(), headers)
        with urlopen(request, timeout=10) as response:
            return json.load(response)


@contextmanager
def serve(folder: Path, target: str = "demo", **environment: str) -> Iterator[Demo]:
    port = _free_port()
    process = subprocess.Popen(
        ["make", "--no-print-directory", target, f"PORT={port}", f"DEMO_DIR={folder}"],
        cwd=ROOT,
        env={**_clean_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that its child processes can be stopped with it
    )
    output: list[str] = []
    printed = threading.Event()
    reader = threading.Thread(target=_read, args=(process, output, printed), daemon=True)
    reader.start()
    try:
        if not printed.wait(START_TIMEOUT):
            raise AssertionError("`make demo` did not start:\n" + "".join(output))
        demo = _parse("".join(output), folder)
        _wait_for_port(port, process, output)
        yield demo
    finally:
        _stop(process)
        reader.join(5)


def _clean_environment() -> dict[str, str]:
    # Without the settings of the tests and the variables of `make test`.
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def _read(process: subprocess.Popen[str], output: list[str], printed: threading.Event) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        output.append(line)
        if "Ctrl-C" in line:
            printed.set()
    printed.set()  # it has ended; its output has the reason


def _parse(text: str, folder: Path) -> Demo:
    page = re.search(r"Call page\s+(http://\S+?)/r/ABC123/", text)
    assert page, f"`make demo` printed no call page:\n{text}"
    return Demo(page[1], dict(re.findall(r"user (\S+)\s+password (\S+)", text)), folder)


def _wait_for_port(port: int, process: subprocess.Popen[str], output: list[str]) -> None:
    ended = threading.Event()
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            ended.wait(0.1)
        else:
            return
        assert process.poll() is None, "".join(output)
    raise AssertionError("the port is not open:\n" + "".join(output))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[str]) -> None:
    for ending in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, ending)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
