"""The scopes that are explored: the peers in the room, what their clients do, and what fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from .rules import Fault, Rules, Scope
from .state import Budget, Client, Row, Seen, Snapshot, Socket, Worker, World


def start(rules: Rules) -> World:
    """Return the first state: the peers of the scope that are seated, with complete rosters."""
    scope = rules.scope
    seats = [peer for peer, worker in enumerate(scope.seated) if worker is not None]
    rows = []
    for peer, worker in enumerate(scope.seated):
        number = seats.index(peer) + 1 if worker is not None else 0
        rows.append(Row("live", 0, worker, 10 * peer + 1, number) if worker is not None else Row())
    snapshot = Snapshot(len(seats), tuple(rows))
    clients = tuple(
        client._replace(opened=int(peer in seats)) for peer, client in enumerate(scope.clients)
    )
    sockets = tuple(_seated(rules, snapshot, peer) for peer in seats)
    workers = tuple(Worker() for _ in range(scope.workers))
    return World(snapshot.version, snapshot.rows, workers, clients, scope.budget, sockets)


def _seated(rules: Rules, snapshot: Snapshot, peer: int) -> Socket:
    member = rules.sockets.seat(peer, snapshot, ()).member
    seen = tuple(
        Seen("in" if row.is_live and other != peer else "unknown")
        for other, row in enumerate(snapshot.rows)
    )
    row = snapshot.rows[peer]
    return Socket(row.channel, row.worker, peer, "seated", 0, member, (), seen)


OBSERVER = Client()
ALL: frozenset[Fault] = frozenset(get_args(Fault))

NETWORK: frozenset[Fault] = frozenset({"lose", "duplicate", "refresh"})

MOVE = Scope(
    "move",
    clients=(OBSERVER, Client(opens=1, closes=1, leaves=1)),
    resumable=(False, True),
    seated=(0, 1),
    places=((), (2,)),
    faults=ALL - {"crash", "reap", "remove"},
    budget=Budget(faults=1, heartbeats=0),
    same_user=(None, None),
)
"""A peer loses its socket, resumes on another worker, and leaves."""

RELAYS = Scope(
    "relays",
    clients=(OBSERVER, Client(opens=2)),
    resumable=(False, True),
    seated=(0, 1),
    places=((), (1, 2)),
    faults=frozenset({"lose", "give up"}),
    budget=Budget(faults=1, heartbeats=0, relays=2),
    same_user=(None, None),
)
"""A peer resumes twice, while its former sockets go on relaying."""

CRASH = Scope(
    "crash",
    clients=(OBSERVER, Client(opens=1), Client(leaves=1)),
    resumable=(False, True, False),
    seated=(0, 1, 1),
    places=((), (2,), ()),
    faults=frozenset({"crash", "lose"}),
    budget=Budget(faults=2, heartbeats=0),
    same_user=(None, None, None),
)
"""A worker with two peers dies."""

JOINS = Scope(
    "joins",
    clients=(OBSERVER, Client(opens=1, leaves=1), Client(opens=1)),
    resumable=(False, False, False),
    seated=(0, None, None),
    places=((), (1,), (2,)),
    faults=NETWORK | {"give up"},
    budget=Budget(faults=1, heartbeats=0),
    same_user=(None, None, None),
)
"""Two peers join at the same time, and one leaves."""

SEATS = Scope(
    "seats",
    clients=(OBSERVER, Client(opens=1, closes=1), Client(opens=1)),
    resumable=(False, True, False),
    seated=(0, 1, None),
    places=((), (1,), (2,)),
    faults=frozenset({"lose", "give up"}),
    budget=Budget(faults=1, heartbeats=0),
    limit=2,
    same_user=(None, None, 1),
)
"""A join needs the seat of a peer that is away, and that may resume."""

FALSE_DEATH = Scope(
    "false death",
    clients=(OBSERVER, Client(opens=1)),
    resumable=(False, True),
    seated=(0, 1),
    places=((), (2,)),
    faults=frozenset({"reap"}),
    budget=Budget(faults=1, heartbeats=1),
    same_user=(None, None),
)
"""A worker is declared dead that was only suspended."""

FORMER = Scope(
    "former socket",
    clients=(OBSERVER, Client(opens=1, leaves=1)),
    resumable=(False, True),
    seated=(0, 1),
    places=((), (2,)),
    faults=frozenset({"give up"}),
    budget=Budget(faults=1, heartbeats=0),
    same_user=(None, None),
)
"""A former socket leaves, and cannot reach the database."""

ARRIVAL = Scope(
    "arrival",
    clients=(OBSERVER, Client(opens=1)),
    resumable=(False, True),
    seated=(0, None),
    places=((), (0,)),
    faults=frozenset(),
    budget=Budget(faults=0, heartbeats=1),
    same_user=(None, None),
    workers=2,
)
"""A peer joins while its worker compares its sockets with the database."""

RETRY = Scope(
    "retry",
    clients=(OBSERVER, Client(opens=2)),
    resumable=(False, True),
    seated=(0, 1),
    places=((), (2,)),
    faults=frozenset({"give up"}),
    budget=Budget(faults=1, heartbeats=1),
    same_user=(None, None),
)
"""A peer resumes again after the answer to its resume was lost."""

FENCE = Scope(
    "fence",
    clients=(OBSERVER, Client(opens=1)),
    resumable=(False, True),
    seated=(0, 1),
    places=((), (2,)),
    faults=frozenset({"reap"}),
    budget=Budget(faults=1, heartbeats=0, relays=2),
    same_user=(None, None),
)
"""A worker that is declared dead goes on relaying, while its peer resumes elsewhere."""

MODES = Scope(
    "modes",
    clients=(OBSERVER, Client(opens=1)),
    resumable=(False, True),
    seated=(0, None),
    places=((), (1,)),
    faults=NETWORK | {"give up"},
    budget=Budget(faults=2, heartbeats=0, switches=2),
    same_user=(None, None),
)
"""A peer joins while the room switches to another mode."""

SCOPES = (MOVE, RELAYS, CRASH, JOINS, SEATS, FALSE_DEATH, FORMER, ARRIVAL, RETRY, FENCE, MODES)
"""For ``make model``."""


def _smaller(scope: Scope, *faults: Fault, **changes: Any) -> Scope:
    return replace(scope, faults=frozenset(faults), **changes)


STAYS, RETURNS = Client(), Client(opens=1)
QUICK = (
    FORMER,
    ARRIVAL,
    _smaller(MOVE, "lose", clients=(OBSERVER, Client(opens=1, closes=1))),
    _smaller(RELAYS, "lose", clients=(OBSERVER, RETURNS), places=((), (2,))),
    _smaller(CRASH, "crash", "lose", clients=(OBSERVER, STAYS, Client(leaves=1))),
    _smaller(JOINS, "lose"),
    _smaller(JOINS, "give up"),
)
"""For ``make test``, within seconds."""
