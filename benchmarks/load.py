"""The load generator, load/load.mjs, as an object."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.contenders import Server
from benchmarks.processes import HERE, LOAD_CORE, BenchmarkError, Process, find_program

Answer = dict[str, Any]


class Load:
    """Sockets to one server, in a process of their own on the load's core."""

    _count = 0

    def __init__(self, server: Server, stack: ExitStack, log_folder: Any) -> None:
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
        on: dict[str, Callable[[], None]] | None = None,
        **options: Any,
    ) -> Answer:
        """Have something done and return the answer; ``on`` is called when it says so meanwhile."""
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
                for key in answer.keys() & (on or {}).keys():
                    on[key]()  # type: ignore[index]
        finally:
            watchdog.cancel()
        raise BenchmarkError(
            f"the load generator ended or took more than {timeout:.0f} s over {do!r}:\n"
            f"{self.process.log_tail()}"
        )
