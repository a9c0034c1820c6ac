"""The transactions of the database, each of them one step of the model."""

from __future__ import annotations

from typing import Any

from .rules import Rules
from .state import NOWHERE, Call, Change, Committed, Row, World

Result = tuple[World, Committed, list[Change]]
"""The new state, what the call returns, and what signals announce after the commit."""


def commit(rules: Rules, world: World, call: Call) -> Result:
    """Run a call to the database."""
    if call.kind in ("join", "resume") and not world.workers[call.worker].has_lease:
        return world, Committed(0, world.snapshot), []  # its worker has no row any more
    match call.kind:
        case "join":
            return _join(rules, world, call)
        case "resume":
            return _resume(world, call)
        case "away":
            return _mark_away(world, call)
        case "leave":
            return _leave(world, call)


def reap(rules: Rules, world: World, worker: int) -> tuple[World, list[Change]]:
    """End a dead worker: its resumable peers are away, its other peers leave."""
    world = set_worker(world, worker, has_lease=False)
    changes = []
    for peer, row in enumerate(world.rows):
        if not row.is_live or row.worker != worker:
            continue
        if not rules.scope.resumable[peer]:
            world, change = _end(world, peer)
            changes.append(change)
            continue
        was_live = row.state == "live"
        world = set_row(world, peer, row._replace(state="away", worker=NOWHERE), counts=was_live)
        if was_live:
            changes.append(announce(world, "away", peer))
    if rules.design.one_version_per_transaction and len(changes) > 1:
        version = world.version - len(changes) + 1
        world = world._replace(version=version)
        changes = [change._replace(version=version) for change in changes]
    return world, changes


def expire(world: World, peer: int) -> tuple[World, list[Change]]:
    """End a membership whose resume window has passed."""
    world, change = _end(world, peer)
    return world, [change]


def remove(world: World, peer: int) -> tuple[World, list[Change]]:
    """Remove a peer, in the admin for example."""
    world, change = _end(world, peer)
    return world, [change._replace(kind="removed")]


def _join(rules: Rules, world: World, call: Call) -> Result:
    """Take a seat; the away membership of the same user gives its seat up."""
    ended: list[Change] = []
    if _is_full(rules, world):
        ghost = rules.scope.same_user[call.peer]
        if ghost is None or world.rows[ghost].state != "away":
            return world, Committed(0, world.snapshot), ended
        world, ended = remove(world, ghost)
    row = Row("live", 0, call.worker, call.channel, world.version + 1)
    world = set_row(world, call.peer, row)
    return world, Committed(world.version, world.snapshot), ended


def _resume(world: World, call: Call) -> Result:
    before = world.rows[call.peer]
    if not before.is_live:
        return world, Committed(0, world.snapshot), []
    row = before._replace(
        state="live", epoch=before.epoch + 1, worker=call.worker, channel=call.channel
    )
    world = set_row(world, call.peer, row)
    previous = (before.worker, before.channel)
    return world, Committed(world.version, world.snapshot, previous), []


def _mark_away(world: World, call: Call) -> Result:
    row = world.rows[call.peer]
    if row.state != "live" or row.epoch != call.epoch:
        return world, Committed(0, world.snapshot), []
    world = set_row(world, call.peer, row._replace(state="away"))
    return world, Committed(world.version, world.snapshot), []


def _leave(world: World, call: Call) -> Result:
    row = world.rows[call.peer]
    if not row.is_live or row.epoch != call.epoch:
        return world, Committed(0, world.snapshot), []
    world, change = _end(world, call.peer)
    return world, Committed(change.version, world.snapshot), []


def _is_full(rules: Rules, world: World) -> bool:
    return sum(row.is_live for row in world.rows) >= rules.scope.limit


def _end(world: World, peer: int) -> tuple[World, Change]:
    row = world.rows[peer]
    world = set_row(world, peer, row._replace(state="left", worker=NOWHERE))
    return world, announce(world, "left", peer)


def announce(world: World, kind: str, peer: int) -> Change:
    """Return the announcement of the change that was committed last."""
    row = world.rows[peer]
    return Change(kind, peer, row.channel, row.number, row.epoch, world.version)  # type: ignore[arg-type]


def set_row(world: World, peer: int, row: Row, *, counts: bool = True) -> World:
    """Replace a row, and increment the version of the room with that."""
    rows = (*world.rows[:peer], row, *world.rows[peer + 1 :])
    return world._replace(rows=rows, version=world.version + counts)


def set_worker(world: World, worker: int, **fields: Any) -> World:
    """Replace fields of a worker."""
    changed = world.workers[worker]._replace(**fields)
    workers = (*world.workers[:worker], changed, *world.workers[worker + 1 :])
    return world._replace(workers=workers)
