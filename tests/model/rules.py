"""What a run of the model is about: the scope, and the rules that it checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .replay import Replays
from .sockets import Classes, Sockets
from .state import Budget, Change, Client, Switch

Fault = Literal["lose", "duplicate", "give up", "crash", "reap", "remove", "refresh"]


@dataclass(frozen=True)
class Design:
    """The rules of the database; each can be broken."""

    one_version_per_transaction: bool = False
    conditional_writes: bool = True


@dataclass(frozen=True)
class Scope:
    """The peers that are in the room at the start, what clients may do, and what may fail."""

    name: str
    clients: tuple[Client, ...]
    resumable: tuple[bool, ...]
    seated: tuple[int | None, ...]
    """The workers of the peers that are in the room at the start."""
    places: tuple[tuple[int, ...], ...]
    """The workers that the client of each peer may connect to."""
    faults: frozenset[Fault]
    budget: Budget
    limit: int = 9
    same_user: tuple[int | None, ...] = ()
    workers: int = 3

    def concerns(self, worker: int, message: Change | Switch) -> bool:
        """Return whether an announcement may change anything at a worker."""
        peers = {
            peer
            for peer, places in enumerate(self.places)
            if worker in places or self.seated[peer] == worker
        }
        if isinstance(message, Switch):
            return bool(peers)
        is_own = peers <= {message.peer}
        return bool(peers) and not (is_own and message.kind in ("joined", "away"))


@dataclass(frozen=True)
class Rules:
    """A scope, the code, and the other rules."""

    scope: Scope
    sockets: Sockets
    replays: Replays
    design: Design = Design()


def make_rules(scope: Scope, classes: Classes | None = None, design: Design | None = None) -> Rules:
    """Return the rules of a scope with the real code, or with ``classes`` instead of it."""
    sockets = Sockets(classes)
    return Rules(scope, sockets, Replays(sockets, scope.resumable), design or Design())
