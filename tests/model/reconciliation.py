"""The heartbeat of a worker and the refresh of its rosters: each reads, and acts later."""

from __future__ import annotations

from . import database, delivery
from .database import set_worker
from .delivery import Violated, publish, without
from .replay import Release, Repairs
from .rules import Rules
from .state import Call, Read, Row, Socket, World


def begin(rules: Rules, world: World, worker: int) -> World:
    """Renew the lease, write what is remembered, and read the rows of the worker."""
    if not world.workers[worker].has_lease:
        world = _fence(rules, world, worker)
    world = _flush(rules, world, worker)
    return set_worker(world, worker, read=Read(sockets_of(world, worker), world.snapshot))


def act(rules: Rules, world: World, worker: int) -> World:
    """Repair what differs between the read and the sockets."""
    state = world.workers[worker]
    read = state.read
    assert read is not None
    repairs = rules.replays.reconcile(
        worker,
        state.suspects,
        read.before,
        read.snapshot,
        sockets_of(world, worker),
        world.snapshot,
    )
    world = set_worker(world, worker, read=None, suspects=repairs.suspects)
    world = _repair(rules, world, worker, repairs)
    for release in repairs.releases:
        world = _release(rules, world, worker, release)
    return world


def read_refresh(world: World, worker: int) -> World:
    """Read the rows and the version of the room in one transaction."""
    due = world.workers[worker].due
    read = Read(_seated(world, worker), world.snapshot, due)
    return set_worker(world, worker, refresh=read, due=0)


def apply_refresh(rules: Rules, world: World, worker: int) -> World:
    """Update the rosters of a worker with what it has read."""
    read = world.workers[worker].refresh
    assert read is not None
    repairs = rules.replays.refresh(read.due, read.snapshot, read.before, _seated(world, worker))
    return _repair(rules, set_worker(world, worker, refresh=None), worker, repairs)


def sockets_of(world: World, worker: int) -> tuple[Socket, ...]:
    """Return the sockets and the detached peers of a worker."""
    return tuple(
        socket._replace(early=(), seen=()) for socket in world.sockets if socket.worker == worker
    )


def _seated(world: World, worker: int) -> tuple[Socket, ...]:
    return tuple(socket for socket in sockets_of(world, worker) if socket.phase == "seated")


def _repair(rules: Rules, world: World, worker: int, repairs: Repairs) -> World:
    due = max(repairs.due, world.workers[worker].due)
    world = set_worker(world, worker, due=due)
    outcomes = dict(repairs.outcomes)
    for socket in world.sockets:
        if socket.channel in outcomes and socket.phase == "seated":
            row, is_open = world.rows[socket.peer], outcomes[socket.channel].fate == "open"
            if not is_open and _is_of(row, socket):
                raise Violated(f"the socket of peer {socket.peer} is closed: its row is {row}")
            world = delivery.settle(rules, world, socket, outcomes[socket.channel])
        elif socket.channel in repairs.ended:
            world = without(world, socket)
    return world


def _release(rules: Rules, world: World, worker: int, release: Release) -> World:
    """Let go of a row without a socket."""
    row = world.rows[release.peer]
    epoch = release.epoch if rules.design.conditional_writes else row.epoch
    awaited = {call.channel for call in world.calls if call.is_awaited}
    for socket in world.sockets:
        has_row = _is_of(row, socket) or (socket.channel == row.channel and row.channel in awaited)
        if row.state == "live" and row.epoch == epoch and has_row:
            raise Violated(f"peer {release.peer} is ended while it has a socket")
    kind = "away" if release.may_resume else "leave"
    call = Call(kind, release.peer, epoch, row.channel, worker)  # type: ignore[arg-type]
    return _write(rules, world, worker, call)


def _is_of(row: Row, socket: Socket) -> bool:
    """Return whether a row is that of a seated socket."""
    return (
        row.state == "live"
        and socket.phase == "seated"
        and (row.channel, row.epoch) == (socket.channel, socket.epoch)
    )


def _flush(rules: Rules, world: World, worker: int) -> World:
    pending = world.workers[worker].pending
    world = set_worker(world, worker, pending=())
    for call in pending:
        world = _write(rules, world, worker, call)
    return world


def _write(rules: Rules, world: World, worker: int, call: Call) -> World:
    world, result, _ = database.commit(rules, world, call)
    if not result.version:
        return world
    kind = "left" if call.kind == "leave" else "away"
    return publish(rules, world, worker, database.announce(world, kind, call.peer))


def _fence(rules: Rules, world: World, worker: int) -> World:
    """Close all sockets of a worker that was declared dead, and take a new lease."""
    world = set_worker(world, worker, has_lease=True)
    for socket in world.sockets:
        if socket.worker == worker and socket.phase == "seated":
            world = delivery.lose(rules, world, socket)
    return world
