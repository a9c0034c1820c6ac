"""All steps that are possible in a state: of clients, calls, messages, workers and faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import database, delivery, reconciliation
from .database import set_worker
from .delivery import Violated, publish, publish_all, without
from .rules import Fault, Rules
from .sockets import ANY_VERSION
from .state import NOWHERE, Call, Change, Relay, Seen, Socket, Switch, Takeover, View, World

Label = tuple[object, ...]
Step = tuple[Label, World | Violated]


def steps(rules: Rules, world: World) -> Iterator[Step]:
    """Yield the label of each step with the next state, or with the promise that it violates."""
    yield from _client_steps(rules, world)
    yield from _call_steps(rules, world)
    yield from _message_steps(rules, world)
    yield from _worker_steps(rules, world)
    yield from _store_steps(rules, world)


def _step(label: Label, function: Callable[..., World], *arguments: Any) -> Step:
    try:
        return label, function(*arguments)
    except Violated as violated:
        return label, violated


def _may(rules: Rules, world: World, fault: Fault) -> bool:
    return world.budget.faults > 0 and fault in rules.scope.faults


def _fail(world: World) -> World:
    return world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))


# --- Clients --------------------------------------------------------------------------------------


def _client_steps(rules: Rules, world: World) -> Iterator[Step]:
    for peer, client in enumerate(world.clients):
        row = world.rows[peer]
        mine = [socket for socket in world.sockets if socket.peer == peer]
        if client.opens and (row.state == "new" or rules.scope.resumable[peer]):
            kind = "join" if not client.opened else "resume"
            if kind == "join" or row.is_live:
                for worker in rules.scope.places[peer]:
                    if world.workers[worker].is_alive:
                        yield (kind, peer, worker), _open(world, peer, worker)
        for socket in mine:
            if socket.phase != "seated":
                continue
            if client.closes:
                after = _spend(world, peer, closes=client.closes - 1)
                yield ("lose socket", socket.channel), delivery.lose(rules, after, socket)
            if client.leaves:
                after = _spend(world, peer, leaves=client.leaves - 1, opens=0)
                yield ("leave", socket.channel), delivery.leave(after, socket)
            if world.budget.relays:
                yield from _relays(rules, world, socket)


def _open(world: World, peer: int, worker: int) -> World:
    client = world.clients[peer]
    channel = 10 * peer + client.opened + 1
    kind = "resume" if client.opened else "join"
    world = _spend(world, peer, opens=client.opens - 1, opened=client.opened + 1)
    sockets = (*world.sockets, Socket(channel, worker, peer))
    call = Call(kind, peer, 0, channel, worker)  # type: ignore[arg-type]
    return delivery.begin_call(world._replace(sockets=tuple(sorted(sockets))), call)


def _relays(rules: Rules, world: World, socket: Socket) -> Iterator[Step]:
    budget = world.budget._replace(relays=world.budget.relays - 1)
    for target, channel in rules.sockets.roster(socket.member).items():
        receiver = next((s for s in world.sockets if s.channel == channel), None)
        if receiver is not None:
            relay = Relay(receiver.channel, socket.peer, socket.epoch)
            after = world._replace(budget=budget)
            what = ("relay", socket.channel, target)
            yield _step(what, delivery.send_to, rules, after, socket.worker, receiver.worker, relay)


def _spend(world: World, peer: int, **fields: int) -> World:
    client = world.clients[peer]._replace(**fields)
    return world._replace(clients=(*world.clients[:peer], client, *world.clients[peer + 1 :]))


# --- Calls ----------------------------------------------------------------------------------------


def _call_steps(rules: Rules, world: World) -> Iterator[Step]:
    for position, call in enumerate(world.calls):
        rest = world._replace(calls=(*world.calls[:position], *world.calls[position + 1 :]))
        what = (call.kind, call.channel)
        if call.result is None:
            yield _step(("commit", *what), commit, rules, rest, call)
        else:
            yield _step(("answer", *what), answer, rules, rest, call)
        if not call.is_awaited:
            yield ("drop", *what), rest
        elif _may(rules, world, "give up"):
            yield _step(("give up", *what), _give_up, rules, _fail(rest), call)


def commit(rules: Rules, world: World, call: Call) -> World:
    """Run a call to the database, and let its answer return if it is awaited."""
    world, result, changes = database.commit(rules, world, call)
    if call.is_awaited:
        world = delivery.begin_call(world, call._replace(result=result))
    return publish_all(rules, world, NOWHERE, changes)


def answer(rules: Rules, world: World, call: Call) -> World:
    """Go on with the result of a call: seat the socket, and announce the change."""
    result = call.result
    assert result is not None
    if call.kind in ("away", "leave"):
        if not result.version:
            return world
        change = _change(call, result.snapshot.rows[call.peer].number, result.version)
        return publish(rules, world, call.worker, change)
    socket = next((s for s in world.sockets if s.channel == call.channel), None)
    if socket is None:
        return world
    if not result.version:
        return without(world, socket)
    row = result.snapshot.rows[call.peer]
    world = _seat(rules, world, socket, call)
    worker, channel = result.previous
    if worker != NOWHERE and world.workers[worker].is_alive:
        takeover = Takeover(channel, call.peer)
        world = delivery.send_to(rules, world, call.worker, worker, takeover)
    kind = "joined" if call.kind == "join" else "back"
    change = Change(kind, call.peer, row.channel, row.number, row.epoch, result.version)  # type: ignore[arg-type]
    return publish(rules, world, call.worker, change)


def _seat(rules: Rules, world: World, socket: Socket, call: Call) -> World:
    """Send ``room:joined``, then deliver the messages that have waited for it."""
    assert call.result is not None
    snapshot = call.result.snapshot
    views: dict[str, View] = {"live": "in", "away": "away"}
    seen = tuple(
        Seen() if peer == call.peer else Seen(views.get(row.state, "unknown"))
        for peer, row in enumerate(snapshot.rows)
    )
    epoch = snapshot.rows[call.peer].epoch
    seated = socket._replace(phase="seated", epoch=epoch, early=(), seen=seen, mode=snapshot.mode)
    outcome = rules.sockets.seat(call.peer, snapshot, socket.early)
    changes = [message for message in socket.early if isinstance(message, Change)]
    unwritten = next((change for change in changes if not change.version), None)
    return delivery.settle(rules, delivery.replace(world, seated), seated, outcome, unwritten)


def _give_up(rules: Rules, world: World, call: Call) -> World:
    """The worker gets no answer. A call that has not been committed may be, later."""
    if call.result is None:
        world = delivery.begin_call(world, call._replace(is_awaited=False))
    if call.kind in ("join", "resume"):
        socket = next((s for s in world.sockets if s.channel == call.channel), None)
        return world if socket is None else without(world, socket)
    worker = world.workers[call.worker]
    remembered = call._replace(result=None)
    world = set_worker(world, call.worker, pending=(*worker.pending, remembered))
    return publish(rules, world, call.worker, _change(call, world.rows[call.peer].number, 0))


def _change(call: Call, number: int, version: int) -> Change:
    kind = "left" if call.kind == "leave" else "away"
    return Change(kind, call.peer, call.channel, number, call.epoch, version)  # type: ignore[arg-type]


# --- Messages -------------------------------------------------------------------------------------


def _message_steps(rules: Rules, world: World) -> Iterator[Step]:
    for position, (worker, message) in enumerate(world.flight):
        if position and world.flight[position - 1] == (worker, message):
            continue
        flight = (*world.flight[:position], *world.flight[position + 1 :])
        rest = world._replace(flight=flight)
        yield _step(("deliver", worker, message), delivery.deliver, rules, rest, worker, message)
        if _may(rules, world, "lose"):
            yield ("lose", worker, message), _fail(rest)
        if _may(rules, world, "duplicate") and message.kind != "relay":
            what = ("duplicate", worker, message)
            yield _step(what, delivery.deliver, rules, _fail(world), worker, message)


# --- Workers --------------------------------------------------------------------------------------


def _worker_steps(rules: Rules, world: World) -> Iterator[Step]:
    budget = world.budget
    for number, worker in enumerate(world.workers):
        if not worker.is_alive:
            continue
        if worker.read is not None:
            yield _step(("reconcile", number), reconciliation.act, rules, world, number)
        elif budget.heartbeats and _has_work(world, number):
            after = world._replace(budget=budget._replace(heartbeats=budget.heartbeats - 1))
            yield _step(("heartbeat", number), reconciliation.begin, rules, after, number)
        if worker.refresh is not None:
            yield _step(("refreshed", number), reconciliation.apply_refresh, rules, world, number)
        elif worker.due:
            yield ("refresh", number), reconciliation.read_refresh(world, number)
        elif _may(rules, world, "refresh") and has_seated(world, number):
            missed = set_worker(_fail(world), number, due=ANY_VERSION)
            yield ("refresh", number), reconciliation.read_refresh(missed, number)
        if _may(rules, world, "crash"):
            yield ("crash", number), crash(_fail(world), number)


def _has_work(world: World, number: int) -> bool:
    """Return whether a heartbeat of a worker may change anything."""
    worker = world.workers[number]
    return (
        not worker.has_lease
        or bool(worker.pending)
        or any(socket.worker == number for socket in world.sockets)
        or any(row.is_live and row.worker == number for row in world.rows)
    )


def has_seated(world: World, number: int) -> bool:
    """Return whether a worker has rosters."""
    return any(socket.worker == number and socket.phase == "seated" for socket in world.sockets)


def crash(world: World, worker: int) -> World:
    """Kill a worker: its calls may commit or not, and nothing else of it remains."""
    calls = tuple(
        call._replace(is_awaited=False) if call.worker == worker else call
        for call in world.calls
        if call.worker != worker or call.result is None
    )
    world = set_worker(
        world, worker, is_alive=False, read=None, refresh=None, due=0, pending=(), suspects=()
    )
    return world._replace(
        calls=tuple(sorted(calls)),
        sockets=tuple(socket for socket in world.sockets if socket.worker != worker),
        flight=tuple(flying for flying in world.flight if flying[0] != worker),
    )


# --- Time and administration ----------------------------------------------------------------------


def _store_steps(rules: Rules, world: World) -> Iterator[Step]:
    for number, worker in enumerate(world.workers):
        if not worker.has_lease or not (_may(rules, world, "reap") or not worker.is_alive):
            continue
        before = _fail(world) if worker.is_alive else world
        after, changes = database.reap(rules, before, number)
        yield _step(("reap", number), publish_all, rules, after, NOWHERE, changes)
    if world.budget.switches:
        spent = world.budget._replace(switches=world.budget.switches - 1)
        after = world._replace(mode=world.mode + 1, budget=spent)
        yield ("switch", after.mode), delivery.send(rules, after, Switch(after.mode), skip=NOWHERE)
    for peer, row in enumerate(world.rows):
        if row.state == "away":
            after, changes = database.expire(world, peer)
            yield _step(("expire", peer), publish_all, rules, after, NOWHERE, changes)
        if row.is_live and _may(rules, world, "remove"):
            after, changes = database.remove(_fail(world), peer)
            yield _step(("remove", peer), publish_all, rules, after, NOWHERE, changes)
