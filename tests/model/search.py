"""Breadth-first search through all states of a scope."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .delivery import Violated
from .quiet import Quiet
from .rules import Rules
from .state import World
from .steps import Label, steps


@dataclass(frozen=True)
class Counterexample:
    """A violated promise, and the shortest way there."""

    violation: str
    path: list[Label]

    def __str__(self) -> str:
        steps = [" ".join(map(str, label)) for label in self.path]
        return "\n".join([self.violation, *(f"  {n}. {step}" for n, step in enumerate(steps, 1))])


@dataclass
class Result:
    """What a search has found."""

    states: int = 0
    steps: int = 0
    depth: int = 0
    drained: int = 0
    """The states in which nothing is on its way."""
    rounds: int = 0
    """The most heartbeats until memory and database agreed."""
    seconds: float = 0.0
    is_complete: bool = True
    counterexample: Counterexample | None = None


def explore(rules: Rules, start: World, *, max_states: int = 10**9) -> Result:
    """Visit all states that are reachable from ``start``, until one violates a promise."""
    began, result, quiet = time.process_time(), Result(), Quiet(rules)
    came_from: dict[int, tuple[int, Label]] = {hash(start): (0, ())}
    level = [start]
    try:
        while level and len(came_from) <= max_states:
            level = _next_level(rules, quiet, level, came_from, result)
            result.depth += 1
    finally:
        result.is_complete = not level
        result.states, result.rounds = len(came_from), quiet.rounds
        result.seconds = time.process_time() - began
    return result


def _next_level(
    rules: Rules,
    quiet: Quiet,
    level: list[World],
    came_from: dict[int, tuple[int, Label]],
    result: Result,
) -> list[World]:
    following = []
    for world in level:
        number = hash(world)
        if not world.calls and not world.flight:
            result.drained += 1
            try:
                quiet.check(world)
            except Violated as violated:
                result.counterexample = Counterexample(str(violated), _path(came_from, number))
                return []
        for label, after in steps(rules, world):
            result.steps += 1
            if isinstance(after, Violated):
                path = [*_path(came_from, number), label]
                result.counterexample = Counterexample(str(after), path)
                return []
            reached = hash(after)
            if reached not in came_from:
                came_from[reached] = (number, label)
                following.append(after)
    return following


def _path(came_from: dict[int, tuple[int, Label]], number: int) -> list[Label]:
    path: list[Label] = []
    while came_from[number][1]:
        number, label = came_from[number]
        path.append(label)
    return path[::-1]
