"""Starts and commands the load generator, load/load.mjs."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.contenders import Server
from benchmarks.processes import HERE, LOAD_CORE, BenchmarkError, Process, find_program

Answer = dict[str, Any]


class Load:
    """The load on one server: a process with many sockets, on the load generator's core."""

    _count = 0

    def __init__(self, server: Server, stack: ExitStack, log_folder: Path) -> None:
        Load._count += 1
        contender = server.contender
        config = {
            "wire": contender.wire,
            "path": contender.path,
            "ports": server.ports,
            "token": server.token,
        }
        self.process = Process(
            [find_program("node"), str(HERE / "load" / "load.mjs"), json.dumps(config)],
            core=LOAD_CORE,
            log=log_folder / f"load-{self._count}.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(self.process.stop)

    def ask(
        self,
        do: str,
        *,
        timeout: float,
        on: Mapping[str, Callable[[], None]] | None = None,
        **options: Any,
    ) -> Answer:
        """Send a command and return the answer. ``on``: callbacks for notifications before it."""
        callbacks = on or {}
        stdin, stdout = self.process.popen.stdin, self.process.popen.stdout
        assert stdin
        assert stdout
        stdin.write(json.dumps({"do": do, **options}) + "\n")
        stdin.flush()
        watchdog = threading.Timer(timeout, self.process.popen.kill)
        watchdog.start()
        try:
            for line in stdout:
                answer: Answer = json.loads(line)
                if "done" in answer:
                    return answer
                for key in answer.keys() & callbacks.keys():
                    callbacks[key]()
        finally:
            watchdog.cancel()
        raise BenchmarkError(
            f"the load generator exited, or took more than {timeout:.0f} s for {do!r}:\n"
            f"{self.process.log_tail()}"
        )
