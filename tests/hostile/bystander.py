"""A room that has nothing to do with an attack, on the same worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from tests.integration.processes import ROOT
from tests.integration.servers import Site

MB = 1024 * 1024
FACTOR = 2.0
"""How much slower relays may become during an attack."""
FLOOR = 0.025
"""Seconds. Shorter times are noise on a machine with two busy processors."""


def p99(times: Sequence[float]) -> float:
    """Return the 99th percentile of some times."""
    return sorted(times)[int(len(times) * 0.99) - 1]


@dataclass
class Phase:
    """The time before an attack, or the time of the attack. Times are in seconds, memory in bytes."""

    relays: list[float] = field(repr=False)
    unexpected: list[dict[str, Any]]
    closed: list[int]
    overdue: int
    memory: int

    @property
    def relay(self) -> float:
        """The 99th percentile of the time that a relay takes."""
        return p99(self.relays)

    def __str__(self) -> str:
        return f"relay {self.relay * 1000:.1f} ms, {len(self.relays)} relays, {self.memory / MB:.0f} MiB"


@dataclass
class Impact:
    """What an attack did to the bystander. ``during`` is known at the end of ``watched``."""

    before: Phase
    during: Phase | None = None


class Bystander:
    """Two peers in a room of their own that relay to each other, in a process of their own."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.room = site.room(name="bystander")
        self.peer_ids: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        site = self._site
        arguments = {
            "url": site.worker.url,
            "tokens": [site.token("bystander-1"), site.token("bystander-2")],
            "room": self.room,
            "worker": site.worker.pid,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.relaying"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._command(json.dumps(arguments))
        self.peer_ids = self._answer()["ids"]
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    @contextmanager
    def watched(
        self, *, memory: int = 16 * MB, events: Sequence[str] = (), floor: float = FLOOR
    ) -> Iterator[Impact]:
        """Fail if the attack within the ``with`` block reaches the bystander or grows the worker.

        During the attack, and until it has been digested:

        - the p99 of the relays is at most twice the p99 before the attack, or twice ``floor``
          (seconds); the time that a process waits for a processor does not count (``relaying``);
        - every relay arrives once, in order, and is acknowledged;
        - no socket of the bystander is closed, and nothing else is sent to it, except ``events``,
          such as ``peer:joined`` if the attacker enters its room (``bystander.room``);
        - the resident memory of the worker never grows by more than ``memory`` bytes.
        """
        self._command("start")
        impact = Impact(self._report())
        assert not self.problems(impact.before, events), impact.before
        yield impact
        impact.during = during = self._report()
        self._command("pause")
        problems = self.problems(during, events)
        allowed = FACTOR * max(impact.before.relay, floor)
        if during.relay > allowed:
            problems.append(f"the p99 of relays exceeds {allowed * 1000:.1f} ms")
        grown = during.memory - impact.before.memory
        if grown > memory:
            problems.append(f"the memory of the worker grew by {grown / MB:.1f} MiB")
        assert not problems, f"{problems}\nbefore: {impact.before}\nduring: {during}"

    @staticmethod
    def problems(phase: Phase, events: Sequence[str]) -> list[str]:
        problems = []
        if phase.closed:
            problems.append(f"sockets were closed: {phase.closed}")
        if phase.overdue:
            problems.append(f"{phase.overdue} relays did not arrive")
        unexpected = [frame for frame in phase.unexpected if frame["event"] not in events]
        if unexpected:
            problems.append(f"unexpected frames: {unexpected[:5]}")
        return problems

    def _report(self) -> Phase:
        self._command("report")
        return Phase(**self._answer())

    def _command(self, command: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the bystander ended with {self._process.wait(15)}"
        answer: dict[str, Any] = json.loads(line)
        return answer
