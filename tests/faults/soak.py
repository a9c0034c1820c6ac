"""The soak: people, one step of faults after the other, and a check of the history in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.progress import log

from .faults import FAULTS, WorkerHung
from .history import RESUME_WINDOW, Violation
from .journal import Journal
from .people import Person
from .records import Joined, Sent, Settled
from .records import Step as StepRecord
from .schedule import Fault, Schedule, Step
from .stage import Stage, stage

PEOPLE = 14
BUGS = ("Internal error", "Exception inside application", "was never retrieved")
START_SECONDS = 60.0
LONG_SECONDS = 3.0
"""A wait is explained if it is longer."""
SHOWN = 4
"""How many violations of each rule and step are printed."""


@dataclass
class Soak:
    """A run: what was done, and what was found."""

    seed: int
    journal: Journal = field(default_factory=lambda: Journal(RESUME_WINDOW))
    steps: list[Step] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    """Seconds from the end of the faults of each step until everything agreed."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def violations(self) -> list[Violation]:
        return self.journal.checker.violations

    @property
    def relays(self) -> int:
        """How many relays were sent."""
        return sum(isinstance(record, Sent) for record in self.journal.history)

    @property
    def sockets(self) -> int:
        """How many sockets clients have opened in rooms."""
        joined = (record for record in self.journal.history if isinstance(record, Joined))
        return len({record.socket for record in joined})

    @property
    def faults(self) -> int:
        """How many faults were injected."""
        return sum(fault.kind != "nothing" for step in self.steps for fault in step.faults)

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.seed, self.steps)

    def save(self, folder: Path) -> None:
        """Write the history, and the schedule that repeats the run."""
        folder.mkdir(parents=True, exist_ok=True)
        self.journal.save(folder / "history.jsonl")
        (folder / "schedule.json").write_bytes(msgspec.json.encode(self.schedule))


async def soak(
    seed: int, steps: Iterable[Step], *, seconds: float, within: float, keep: Path | None = None
) -> Soak:
    """Inject ``steps`` until there are no more, or ``seconds`` are over.

    After each step, sockets and database must agree ``within`` seconds. ``keep``: where to save
    the history and the logs if there are violations.
    """
    run = Soak(seed)
    names = [f"person{number}" for number in range(PEOPLE)]
    settings = {"RESUME_WINDOW": RESUME_WINDOW}
    async with stage(settings, names) as made:
        people = [
            Person(name, made, run.journal, f"{seed} {name}", is_resumable=number % 4 != 0)
            for number, name in enumerate(names)
        ]
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(person.live()) for person in people]
            made.exit_seconds = max(made.exit_seconds, within)
            director = Director(run, made, people, within)
            try:
                await director.play(steps, seconds)
            finally:
                run.seconds = run.journal.now()
                for life in lives:
                    life.cancel()
        if run.violations and keep is not None:
            run.save(keep)
            made.save_logs(keep)
    return run


class Director:
    """Injects the steps, and waits after each until everything agrees."""

    def __init__(self, run: Soak, stage: Stage, people: list[Person], within: float) -> None:
        self._run = run
        self._journal = run.journal
        self._stage = stage
        self._people = people
        self._within = within

    async def play(self, steps: Iterable[Step], seconds: float) -> None:
        await self._begin()
        deadline = time.monotonic() + seconds
        for step in steps:
            if time.monotonic() > deadline:
                return
            self._run.steps.append(step)
            faults = [str(fault) for fault in step.faults]
            self._journal.add(StepRecord(self._journal.now(), faults))
            found = len(self._run.violations)
            log(f"step {len(self._run.steps)}: {', '.join(faults)}")
            await asyncio.sleep(step.lead)
            await asyncio.gather(*(self._inject(fault) for fault in step.faults))
            await asyncio.sleep(1)
            await self._settle()
            self._report(self._run.violations[found:])

    async def _begin(self) -> None:
        """Wait until all clients have joined: the start of a site is not a fault."""
        async with asyncio.timeout(START_SECONDS):
            while not all(person.is_settled for person in self._people):  # noqa: ASYNC110
                await asyncio.sleep(0.25)

    def _report(self, violations: list[Violation]) -> None:
        """Print the first violations of each rule."""
        log(f"  quiet after {self._run.waits[-1]:.1f} s")
        for rule in dict.fromkeys(violation.rule for violation in violations):
            texts = [violation.text for violation in violations if violation.rule == rule]
            for text in texts[:SHOWN]:
                log(f"  VIOLATION {rule}: {text}")
            if len(texts) > SHOWN:
                log(f"  VIOLATION {rule}: … and {len(texts) - SHOWN} more")

    async def _inject(self, fault: Fault) -> None:
        try:
            await FAULTS[fault.kind](self._stage, **fault.arguments)
        except WorkerHung as error:
            self._journal.checker.report("server", str(error))

    async def _settle(self) -> None:
        """Wait until sockets and database agree, and log what does not."""
        began = time.monotonic()
        wrong: list[Any] = []
        for person in self._people:
            person.rest()
        while True:
            await asyncio.sleep(0.25)
            stuck = [repr(person) for person in self._people if not person.is_settled]
            rooms = await self._stage.read_rooms()
            waited = time.monotonic() - began
            before, wrong = wrong, [*stuck, *self._journal.checker.differences(rooms)]
            if waited > self._within or not wrong:
                break
        if waited > LONG_SECONDS:
            log(f"  the last to agree: {before}")
        self._journal.add(Settled(self._journal.now(), rooms, stuck, waited))
        self._run.waits.append(waited)
        self._check_servers()
        for person in self._people:
            person.is_quiet = False

    def _check_servers(self) -> None:
        for name, text in self._stage.new_output():
            lines = text.splitlines()
            for number, line in enumerate(lines):
                if any(bug in line for bug in BUGS):
                    self._journal.checker.report("server", f"{name}: {_excerpt(lines[number:])}")


def _excerpt(lines: list[str]) -> str:
    """Return the first line of an error, and the last line of its traceback."""
    ends = [line for line in lines[1:60] if line and not line.startswith((" ", "Traceback"))]
    return " … ".join([lines[0], *ends[:1]])[:400]


def totals(run: Soak) -> str:
    """Return a table with one row about the whole run, as in docs/reliability.md."""
    row = {
        "seed": run.seed,
        "minutes": f"{run.seconds / 60:.1f}",
        "steps": len(run.steps),
        "faults": run.faults,
        "sockets": f"{run.sockets:,}",
        "relays": f"{run.relays:,}",
        "unexplained": len(run.violations),
        "agree after, longest": f"{max(run.waits, default=0):.1f} s",
    }
    lines = [[*row], ["---:"] * len(row), [str(value) for value in row.values()]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(run: Soak) -> str:
    """Return a table: how often each kind of fault was injected, and what it caused."""
    rules = sorted({violation.rule for violation in run.violations})
    rows: dict[str, dict[str, Any]] = {}
    for number, step in enumerate(run.steps, 1):
        name = " + ".join(sorted(fault.kind for fault in step.faults))
        row = rows.setdefault(name, {"times": 0, "waits": []} | dict.fromkeys(rules, 0))
        row["times"] += 1
        row["waits"] += run.waits[number - 1 : number]
        for violation in run.violations:
            if violation.step == number:
                row[violation.rule] += 1
    head = ["fault", "times", "agree after, longest", *rules]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, row in sorted(rows.items()):
        cells = [name, str(row["times"]), f"{max(row['waits'], default=0):.1f} s"]
        lines.append("| " + " | ".join([*cells, *(str(row[rule]) for rule in rules)]) + " |")
    return "\n".join(lines)
