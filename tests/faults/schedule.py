"""Which faults a run injects, and when: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

WORKERS = 3
ROOMS = 2
SKEW = 28
"""Seconds by which a clock jumps: tokens allow for 30 s."""

Arguments = dict[str, Any]


class Fault(msgspec.Struct, frozen=True):
    """A kind of fault, and the arguments of its function in ``faults.FAULTS``."""

    kind: str
    arguments: Arguments

    def __str__(self) -> str:
        values = " ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.kind} {values}".strip()


class Step(msgspec.Struct, frozen=True):
    """Faults that are injected at the same time, after ``lead`` seconds."""

    faults: list[Fault]
    lead: float


class Schedule(msgspec.Struct, frozen=True):
    """A run that can be repeated: ``seed`` is that of the clients."""

    seed: int
    steps: list[Step]


def _seconds(rng: random.Random, low: float, high: float) -> float:
    return round(rng.uniform(low, high), 1)


def _arguments(kind: str, rng: random.Random) -> Arguments:
    worker = rng.randrange(WORKERS)
    match kind:
        case "kill":
            return {"worker": worker, "down": _seconds(rng, 0, 4)}
        case "pause":
            return {"worker": worker, "seconds": _seconds(rng, 2, 12)}
        case "terminate":
            return {"worker": worker}
        case "clock":
            offset = rng.choice([-SKEW, SKEW])
            return {"worker": worker, "offset": offset, "seconds": _seconds(rng, 4, 8)}
        case "postgresql-lock":
            row = rng.choice(["room", "peers"])
            return {"room": rng.randrange(ROOMS), "row": row, "seconds": _seconds(rng, 2, 8)}
        case "postgresql-cut":
            return {"commits": rng.randint(1, 4)}
        case "nothing" | "postgresql-restart" | "redis-restart" | "redis-kill":
            return {}
        case _:
            return {"seconds": _seconds(rng, 2, 10)}


KINDS = {
    "nothing": "no fault: only the clients come and go",
    "kill": "kill -9 of a worker, which starts again some seconds later",
    "pause": "SIGSTOP of a worker for 2 to 12 s",
    "terminate": "SIGTERM of a worker, which starts again when it has ended",
    "clock": "the clock of a worker jumps by 28 s and, seconds later, back (libfaketime)",
    "postgresql-restart": "PostgreSQL crashes (SIGQUIT) and starts again",
    "postgresql-stop": "PostgreSQL is stopped for 2 to 10 s",
    "postgresql-read-only": "PostgreSQL refuses all writes for 2 to 10 s",
    "postgresql-lock": "the row of a room, or those of its peers, is locked for 2 to 8 s",
    "postgresql-cut": "the next 1 to 4 connections are cut between a COMMIT and its answer",
    "redis-restart": "Redis is killed and starts again, empty",
    "redis-stop": "Redis is stopped for 2 to 10 s",
    "redis-kill": "Redis closes all connections (CLIENT KILL)",
    "stores-stop": "PostgreSQL and Redis are stopped together for 2 to 10 s",
}
"""The kinds of fault, with what they do."""
WORKER_KINDS = ("pause", "terminate", "clock")
"""Faults of a worker that may coincide with one of a store. A kill loses writes that wait."""


def steps(seed: int, kinds: Sequence[str] = tuple(KINDS)) -> Iterator[Step]:
    """Yield steps without an end. Each kind occurs once before any occurs again."""
    rng = random.Random(seed)
    while True:
        deck = list(kinds)
        rng.shuffle(deck)
        for kind in deck:
            faults = [Fault(kind, _arguments(kind, rng))]
            companions = [other for other in WORKER_KINDS if other in kinds]
            is_of_store = kind not in {*WORKER_KINDS, "kill", "nothing"}
            if is_of_store and companions and rng.random() < 0.3:
                companion = rng.choice(companions)
                faults.append(Fault(companion, _arguments(companion, rng)))
            yield Step(faults, _seconds(rng, 1, 3))
