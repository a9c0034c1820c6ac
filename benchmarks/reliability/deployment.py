"""The servers under test, their clients, and the figures that the cases return."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import ONE_PROCESS, Server, Site
from benchmarks.processes import BenchmarkError, Stores
from signalling.client import ResumingClient

from .peers import Sender

PROCESSES = 3
ROOM_SIZE = 10
PAIRS = 10
SEND_INTERVAL = 0.1  # seconds between two relays of a sender: ten pairs make 200 a second


@dataclass
class Figure:
    """One result, and the limit it must not exceed."""

    name: str
    value: float
    unit: str = ""
    limit: float | None = None

    @property
    def is_exceeded(self) -> bool:
        return self.limit is not None and self.value > self.limit

    def row(self) -> list[str]:
        number = f"{self.value:.2f}" if isinstance(self.value, float) else str(self.value)
        value = f"{number} {self.unit}".rstrip()
        if self.limit is None:
            return [self.name, value, "", ""]
        limit = f"≤ {self.limit:g} {self.unit}".rstrip()
        return [self.name, value, limit, "NOT MET" if self.is_exceeded else "met"]


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Deployment:
    """Three server processes that share a database and a Redis, and the clients that use them."""

    _rooms = itertools.count()

    def __init__(self, server: str, rounds: int, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reliability-")))
        self.rounds = rounds
        self.stores = Stores(folder, stack)
        site = Site(self.stores, {})
        self.server = Server(ONE_PROCESS[server], site, self.stores, PROCESSES, stack)

    def room(self) -> str:
        """Return the code of a room that has not been used yet."""
        return f"BENCH-{next(self._rooms)}"

    def url(self, process: int) -> str:
        return f"ws://127.0.0.1:{self.server.ports[process % PROCESSES]}/ws/signalling/"

    @asynccontextmanager
    async def client(self, *processes: int, **options: Any) -> AsyncIterator[ResumingClient]:
        """Connect a client that tries these processes in turn."""
        urls = [self.url(process) for process in processes]
        client = ResumingClient(urls, token=self.server.token, proxy=None, **options)
        async with client:
            yield client

    async def signal(self, process: int, number: signal.Signals) -> float:
        """Send a signal to a process and return the time."""
        now = time.monotonic()
        self.server.processes[process].popen.send_signal(number)
        return now

    def count_in_logs(self, text: str) -> int:
        """Return how often the processes have logged a text."""
        return sum(
            process.log.read_text(errors="replace").count(text) for process in self.server.processes
        )

    async def restart(self, process: int) -> None:
        """Wait for a process to exit, then start it again."""
        try:
            code = await asyncio.to_thread(self.server.processes[process].popen.wait, 30)
        except subprocess.TimeoutExpired:
            raise BenchmarkError("a process did not exit within 30 s") from None
        if code not in (0, -signal.SIGKILL):
            tail = self.server.processes[process].log_tail()
            raise BenchmarkError(f"a process exited with {code}:\n{tail}")
        await asyncio.to_thread(self.server.restart, process)

    async def senders(
        self, stack: AsyncExitStack, pairs: Iterable[tuple[int, int]], **options: Any
    ) -> list[Sender]:
        """Start a pair of senders, alone in a room, for each pair of processes."""
        senders: list[Sender] = []
        for processes in pairs:
            room = self.room()
            for process in processes:
                in_turn = [process + number for number in range(PROCESSES)]
                client = await stack.enter_async_context(self.client(*in_turn, **options))
                await client.join(room)
                senders.append(Sender(client))
        for number, sender in enumerate(senders):
            stack.push_async_callback(sender.close)
            sender.start(senders[number ^ 1], interval=SEND_INTERVAL)
        return senders
