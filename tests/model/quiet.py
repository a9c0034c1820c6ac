"""What has to hold after every fault, once it is quiet: nothing else fails, and workers go on."""

from __future__ import annotations

from . import database, delivery, reconciliation
from .delivery import Violated, publish_all
from .rules import Rules
from .state import NOWHERE, Budget, Socket, World
from .steps import answer, commit

ROUNDS = 6
"""The most heartbeats of each worker until memory and database agree."""


class Quiet:
    """Checks states in which nothing is on its way."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._settled: dict[World, World] = {}
        self.rounds = 0
        """The most heartbeats that were needed."""

    def check(self, world: World) -> None:
        """Raise ``Violated`` if the workers do not converge, before or after seats expire."""
        world = self._settle(world._replace(budget=Budget()))
        for peer, row in enumerate(world.rows):
            if row.state == "away":
                world, changes = database.expire(world, peer)
                world = publish_all(self._rules, world, NOWHERE, changes)
        self._settle(world)

    def _settle(self, world: World) -> World:
        if world in self._settled:
            return self._settled[world]
        begun = world
        world = self._drain(world)
        for round_number in range(ROUNDS):
            after = self._drain(self._heartbeats(world))
            if after == world:
                self.rounds = max(self.rounds, round_number)
                check_agreement(self._rules, world)
                self._settled[begun] = world
                return world
            world = after
        raise Violated(f"memory and database still differ after {ROUNDS} heartbeats")

    def _heartbeats(self, world: World) -> World:
        for number, worker in enumerate(world.workers):
            if worker.is_alive and worker.read is None:
                world = reconciliation.begin(self._rules, world, number)
            elif not worker.is_alive and worker.has_lease:
                world, changes = database.reap(self._rules, world, number)
                world = publish_all(self._rules, world, NOWHERE, changes)
        return world

    def _drain(self, world: World) -> World:
        """Let everything arrive that is on its way."""
        rules = self._rules
        while True:
            if world.calls:
                call, rest = world.calls[0], world._replace(calls=world.calls[1:])
                world = (commit if call.result is None else answer)(rules, rest, call)
            elif world.flight:
                (worker, message), *flying = world.flight
                rest = world._replace(flight=tuple(flying))
                world = delivery.deliver(rules, rest, worker, message)
            else:
                after = self._finish(world)
                if after == world:
                    return world
                world = after

    def _finish(self, world: World) -> World:
        for number, worker in enumerate(world.workers):
            if worker.read is not None:
                world = reconciliation.act(self._rules, world, number)
            elif worker.refresh is not None:
                world = reconciliation.apply_refresh(self._rules, world, number)
            elif worker.due:
                world = reconciliation.read_refresh(world, number)
        return world


def check_agreement(rules: Rules, world: World) -> None:
    """Raise ``Violated`` unless the sockets agree with the rows."""
    rows = world.rows
    seated = [socket for socket in world.sockets if socket.phase == "seated"]
    if sum(row.is_live for row in rows) > rules.scope.limit:
        raise Violated("there are more live rows than seats")
    for socket in seated:
        row = rows[socket.peer]
        if not row.is_live or (row.channel, row.epoch) != (socket.channel, socket.epoch):
            raise Violated(f"a socket of peer {socket.peer} goes on: its row is {row}")
        if socket.mode != world.mode:
            text = f"the client of peer {socket.peer} knows mode {socket.mode}, not {world.mode}"
            raise Violated(text)
        _check_roster(rules, world, socket)
    for peer, row in enumerate(rows):
        sockets = sum(socket.peer == peer for socket in seated)
        if (row.state == "live") != (sockets == 1):
            raise Violated(f"peer {peer} has {sockets} sockets: its row is {row}")


def _check_roster(rules: Rules, world: World, socket: Socket) -> None:
    live = {
        peer: row.channel
        for peer, row in enumerate(world.rows)
        if row.is_live and peer != socket.peer
    }
    roster = rules.sockets.roster(socket.member)
    if roster != live:
        raise Violated(f"the roster of peer {socket.peer} is {roster}, the live rows are {live}")
    for peer, seen in enumerate(socket.seen):
        views = {"live": ("in",), "away": ("away",)}.get(world.rows[peer].state)
        if seen.view not in (views or ("unknown", "left", "doubtful")) and peer != socket.peer:
            text = f"the client of {socket.peer} believes that {peer} is {seen.view}"
            raise Violated(f"{text}: its row is {world.rows[peer]}")
