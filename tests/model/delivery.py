"""What workers send each other, and what their sockets make of it."""

from __future__ import annotations

from collections.abc import Iterable

from .database import set_worker
from .rules import Rules
from .sockets import Event, Outcome
from .state import Call, Change, Message, Relay, Seen, Socket, Switch, Takeover, World


class Violated(Exception):
    """A client got an event that contradicts the promises, or nothing agrees in the end."""


def publish(rules: Rules, world: World, worker: int, change: Change) -> World:
    """Announce a change: at once to the worker's own sockets, and through Redis to the others."""
    return send(rules, deliver(rules, world, worker, change), change, skip=worker)


def publish_all(rules: Rules, world: World, worker: int, changes: Iterable[Change]) -> World:
    """Announce the changes in this order."""
    for change in changes:
        world = publish(rules, world, worker, change)
    return world


def send(rules: Rules, world: World, message: Change | Switch, *, skip: int) -> World:
    """Put an announcement on its way to all workers but one."""
    return _fly(
        world,
        [
            (worker, message)
            for worker, other in enumerate(world.workers)
            if other.is_alive and worker != skip and rules.scope.concerns(worker, message)
        ],
    )


def send_to(rules: Rules, world: World, sender: int, worker: int, message: Message) -> World:
    """Send a message to a channel of a worker."""
    if worker == sender:
        return deliver(rules, world, worker, message)
    return _fly(world, [(worker, message)])


def deliver(rules: Rules, world: World, worker: int, message: Message) -> World:
    """Deliver a message to the sockets of a worker."""
    for socket in world.sockets:
        if socket.worker != worker:
            continue
        if isinstance(message, Takeover | Relay) and message.channel != socket.channel:
            continue
        match socket.phase:
            case "seated":
                outcome = rules.sockets.deliver(socket.member, socket.channel, message)
                world = settle(rules, world, socket, outcome, message)
            case "joining" if isinstance(message, Change | Switch):
                world = replace(world, socket._replace(early=(*socket.early, message)))
            case "detached":
                world = _deliver_detached(world, socket, message)
    return world


def settle(
    rules: Rules, world: World, socket: Socket, outcome: Outcome, message: Message | None = None
) -> World:
    """Adopt what the code has made of a socket, and check what its client was sent."""
    is_written = not isinstance(message, Change) or bool(message.version)
    socket = tell(socket, outcome.events, is_written=is_written)
    if outcome.is_relayed:
        assert isinstance(message, Relay)
        socket = _relayed(socket, message)
    due = max(outcome.due, world.workers[socket.worker].due)
    world = set_worker(world, socket.worker, due=due)
    match outcome.fate:
        case "closed":
            return without(world, socket)
        case "fenced":
            return replace(world, detached(socket))
        case "lost":
            return lose(rules, world, socket)
    return replace(world, socket._replace(member=outcome.member))


def detached(socket: Socket) -> Socket:
    """Return the detached peer that replaces a socket."""
    return Socket(socket.channel, socket.worker, socket.peer, "detached", socket.epoch)


def lose(rules: Rules, world: World, socket: Socket) -> World:
    """Close a socket: its peer is detached if it is resumable; otherwise it leaves."""
    if not rules.scope.resumable[socket.peer]:
        return leave(world, socket)
    call = Call("away", socket.peer, socket.epoch, socket.channel, socket.worker)
    return begin_call(replace(world, detached(socket)), call)


def leave(world: World, socket: Socket) -> World:
    """Let the peer of a socket leave."""
    call = Call("leave", socket.peer, socket.epoch, socket.channel, socket.worker)
    return begin_call(without(world, socket), call)


def begin_call(world: World, call: Call) -> World:
    """Begin a call to the database."""
    return world._replace(calls=tuple(sorted((*world.calls, call))))


def tell(socket: Socket, events: Iterable[Event], *, is_written: bool = True) -> Socket:
    """Return the socket after its client got these events. Raises ``Violated``."""
    seen = list(socket.seen)
    for kind, peer in events:
        if kind == "mode":
            socket = _switched(socket, peer)
            continue
        known = seen[peer].view
        allowed = {"joined": {"unknown", "doubtful"}}.get(kind, {"in", "away"})
        if known not in allowed:
            raise Violated(
                f"the client of peer {socket.peer} gets {kind} of {peer}: it was {known}"
            )
        view = {"joined": "in", "back": "in", "away": "away", "left": "left"}[kind]
        if kind == "left" and not is_written:
            view = "doubtful"
        seen[peer] = seen[peer]._replace(view=view)  # type: ignore[arg-type]
    return socket._replace(seen=tuple(seen))


def replace(world: World, socket: Socket) -> World:
    """Replace a socket by its new state."""
    sockets = tuple(socket if other.channel == socket.channel else other for other in world.sockets)
    return world._replace(sockets=sockets)


def without(world: World, socket: Socket) -> World:
    """Remove a socket that was closed."""
    sockets = tuple(other for other in world.sockets if other.channel != socket.channel)
    return world._replace(sockets=sockets)


def _deliver_detached(world: World, socket: Socket, message: Message) -> World:
    """End a detached peer, as ``DetachedPeer`` does."""
    if isinstance(message, Takeover):
        return without(world, socket)
    if isinstance(message, Relay | Switch) or message.peer != socket.peer:
        return world
    is_back = message.kind == "back" and message.epoch > socket.epoch
    has_ended = is_back or message.kind in ("left", "removed")
    return without(world, socket) if has_ended else world


def _switched(socket: Socket, mode: int) -> Socket:
    if mode <= socket.mode:
        text = f"the client of peer {socket.peer} gets mode {mode}: it was {socket.mode}"
        raise Violated(text)
    return socket._replace(mode=mode)


def _relayed(socket: Socket, relay: Relay) -> Socket:
    known = socket.seen[relay.sender]
    if known.view not in ("in", "away"):
        text = f"a relay of {relay.sender} reaches {socket.peer}, for which it is {known.view}"
        raise Violated(text)
    if relay.epoch < known.newest:
        raise Violated(f"a relay of epoch {relay.epoch} is delivered after one of {known.newest}")
    seen = list(socket.seen)
    seen[relay.sender] = Seen(known.view, relay.epoch)
    return socket._replace(seen=tuple(seen))


def _fly(world: World, messages: Iterable[tuple[int, Message]]) -> World:
    return world._replace(flight=tuple(sorted([*world.flight, *messages], key=_order)))


def _order(addressed: tuple[int, Message]) -> tuple[object, ...]:
    worker, message = addressed
    return (worker, message.kind, *message)
