"""The checker accepts a good history, and rejects one for each invariant."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.faults import records
from tests.faults.faults import FAULTS
from tests.faults.history import RULES, check
from tests.faults.records import (
    Announced,
    Answered,
    AnyRecord,
    Closed,
    Ended,
    Joined,
    Received,
    Refused,
    Reported,
    Room,
    Row,
    Sent,
    Settled,
    Step,
)
from tests.faults.schedule import KINDS, steps

HERE = Row()
AWAY = Row(remaining=20.0)

START: list[AnyRecord] = [
    Step(0, ["nothing"]),
    Joined(1, "ann", 1, "TEA", {}, resumable=True),
    Joined(2, "bob", 2, "TEA", {"ann": False}, resumable=True),
    Announced(3, "ann", 1, "joined", "bob"),
]
"""Ann and Bob are in a room."""


def settled(at: float = 50, limit: int = 3, **rows: Row) -> Settled:
    return Settled(at, {"TEA": Room(limit, rows)})


def rules(*history: AnyRecord) -> list[str]:
    """Return the rules that a history violates, after ``START``."""
    return [violation.rule for violation in check([*START, *history])]


def relay(number: int, at: float = 5, socket: int = 1) -> list[AnyRecord]:
    """Return an acknowledged relay of Ann to Bob."""
    return [Sent(at, "ann", socket, "bob", number), Answered(at + 0.1, number)]


def arrives(number: int, at: float = 6, peer: str = "bob") -> Received:
    return Received(at, peer, 2, "ann", number)


# --- What is accepted -----------------------------------------------------------------------------


def test_a_good_history_is_accepted() -> None:
    resumed = Joined(12, "ann", 3, "TEA", {"bob": False}, resumable=True, resumed=True)
    history: list[AnyRecord] = [
        *relay(1),
        arrives(1),
        Closed(10, "ann", 1, 1006),
        Announced(11, "bob", 2, "away", "ann"),
        settled(11.5, ann=AWAY, bob=HERE),
        resumed,
        Announced(12.1, "bob", 2, "back", "ann"),
        *relay(2, at=13, socket=3),
        arrives(2, at=14),
        settled(15, ann=HERE, bob=HERE),
        Ended(16, "bob"),
        Closed(16, "bob", 2, 1000),
        Announced(17, "ann", 3, "left", "bob"),
        settled(18, ann=HERE),
    ]
    assert rules(*history) == []


def test_a_loss_that_was_reported_is_accepted() -> None:
    reported = Reported(7, "ann", "bob", "unavailable")
    assert rules(*relay(1), reported, settled(ann=HERE, bob=HERE)) == []


@pytest.mark.parametrize("peer", ["ann", "bob"])
def test_a_loss_before_a_gap_is_accepted(peer: str) -> None:
    """The gap is that of the receiver, or of the sender, which may have missed the report."""
    other = {"ann": "bob", "bob": "ann"}[peer]
    resumed = Joined(9, peer, 9, "TEA", {other: False}, resumed=True, gap=True)
    socket = {"ann": 1, "bob": 2}[peer]
    history = [*relay(1), Closed(8, peer, socket, 1006), resumed, settled(ann=HERE, bob=HERE)]
    assert rules(*history) == []


def test_a_loss_to_a_peer_that_has_left_is_accepted() -> None:
    left = Announced(7, "ann", 1, "left", "bob")
    assert rules(*relay(1), Ended(6, "bob"), left, settled(ann=HERE)) == []


def test_a_relay_to_a_peer_that_is_away_may_arrive_later() -> None:
    held: list[AnyRecord] = [
        Closed(4, "bob", 2, 1006),
        Announced(4, "ann", 1, "away", "bob"),
        *relay(1),
        settled(20, ann=HERE, bob=AWAY),
    ]
    resumed = Joined(21, "bob", 3, "TEA", {"ann": False}, resumed=True)
    back = Announced(21, "ann", 1, "back", "bob")
    arrived = Received(22, "bob", 3, "ann", 1)
    assert rules(*held, resumed, back, arrived, settled(ann=HERE, bob=HERE)) == []
    assert rules(*held, resumed, back, settled(ann=HERE, bob=HERE)) == ["lost"]


def test_a_relay_of_a_socket_with_a_successor_may_be_lost() -> None:
    """The successor has its own, and the report has nobody to go to."""
    successor = Joined(4, "ann", 3, "TEA", {"bob": False}, resumed=True)
    back = Announced(4, "bob", 2, "back", "ann")
    closed = Closed(7, "ann", 1, 4409)
    assert rules(successor, back, *relay(1, at=5), closed, settled(ann=HERE, bob=HERE)) == []
    assert rules(*relay(1, at=3), successor, back, closed, settled(ann=HERE, bob=HERE)) == ["lost"]


def test_a_socket_and_its_successor_may_overtake_each_other() -> None:
    """The client goes on to use the first one, and its worker does not know yet."""
    successor = Joined(4, "ann", 3, "TEA", {"bob": False}, resumed=True)
    back = Announced(4, "bob", 2, "back", "ann")
    first, late = Sent(5, "ann", 3, "bob", 1), Sent(6, "ann", 1, "bob", 2)
    assert rules(successor, back, first, late, arrives(2), arrives(1)) == []
    assert rules(successor, back, first, late, arrives(1), arrives(2)) == ["stale"]


def test_an_unknown_peer_may_be_away_if_the_answer_to_a_join_was_lost() -> None:
    news = [Announced(5, "ann", 1, "joined", "eve"), Announced(5, "bob", 2, "joined", "eve")]
    away = [Announced(6, "ann", 1, "away", "eve"), Announced(6, "bob", 2, "away", "eve")]
    assert rules(*news, *away, settled(ann=HERE, bob=HERE, eve=AWAY)) == []


# --- What is rejected -----------------------------------------------------------------------------

REJECTED: dict[str, list[list[AnyRecord]]] = {
    "roster": [
        # Bob's row is gone, or Ann does not know that it is away, or Bob has no row of its own.
        [Closed(4, "bob", 2, 1006), settled(ann=HERE)],
        [Closed(4, "bob", 2, 1006), settled(ann=HERE, bob=AWAY)],
        [Announced(4, "ann", 1, "left", "bob"), settled(ann=HERE)],
        [Joined(4, "eve", 4, "TEA", {"eve": False})],
    ],
    "ghost": [
        [Closed(4, "bob", 2, 1006), settled(ann=HERE, bob=HERE)],
        [Ended(4, "bob"), Closed(4, "bob", 2, 1000), settled(ann=HERE, bob=HERE)],
        [
            Closed(4, "bob", 2, 1006),
            Announced(4, "ann", 1, "away", "bob"),
            settled(ann=HERE, bob=Row(remaining=51)),
        ],
    ],
    "fenced": [
        [
            Joined(5, "bob", 3, "TEA", {"ann": False}, resumed=True),
            settled(ann=HERE, bob=HERE),
        ],
    ],
    "seats": [[settled(limit=1, ann=HERE, bob=HERE)]],
    "announced": [
        [Announced(4, "ann", 1, "joined", "bob")],
        [Announced(4, "ann", 1, "left", "bob"), Announced(5, "ann", 1, "joined", "bob")],
        [Announced(4, "ann", 1, "left", "bob"), Announced(5, "ann", 1, "left", "bob")],
        [Announced(4, "ann", 1, "away", "eve")],
        [Ended(4, "bob"), Joined(5, "bob", 3, "TEA", {"ann": False}, resumed=True)],
    ],
    "stale": [
        [
            Joined(4, "ann", 5, "TEA", {"bob": False}, resumed=True),
            *relay(1, socket=5),
            *relay(2, socket=1),
            arrives(1),
            arrives(2),
        ],
    ],
    "order": [[*relay(1), *relay(2), arrives(2), arrives(1)]],
    "twice": [
        [*relay(1), arrives(1), arrives(1)],
        [Sent(4, "ann", 1, "bob", 1), Answered(5, 1, "peer_busy"), arrives(1)],
        [Sent(4, "ann", 1, "bob", 1), arrives(1), Answered(5, 1, "peer_not_found")],
    ],
    "stranger": [
        [Announced(4, "bob", 2, "left", "ann"), *relay(1), arrives(1)],
        [Joined(4, "eve", 2, "TEA", {"ann": False}), *relay(1), arrives(1, peer="eve")],
    ],
    "lost": [
        [*relay(1), settled(ann=HERE, bob=HERE)],
        [*relay(1), *relay(2), Reported(7, "ann", "bob", "x"), settled(ann=HERE, bob=HERE)],
        # A gap covers what was sent before it, and nothing later.
        [
            Closed(4, "bob", 2, 1006),
            Joined(5, "bob", 3, "TEA", {"ann": False}, resumed=True, gap=True),
            *relay(1, at=6),
            settled(ann=HERE, bob=HERE),
        ],
    ],
    "refused": [
        [Refused(4, "internal")],
        [Closed(4, "bob", 2, 4401)],
        [Closed(4, "bob", 2, 1006), Refused(9, "resume_expired", "bob")],
    ],
    "stuck": [[Settled(9, {"TEA": Room(3, {"ann": HERE, "bob": HERE})}, ["person1"])]],
}
"""Histories that each violate one invariant."""


@pytest.mark.parametrize(
    ("rule", "history"),
    [(rule, history) for rule, histories in REJECTED.items() for history in histories],
)
def test_a_violation_is_found(rule: str, history: list[AnyRecord]) -> None:
    assert set(rules(*history)) == {rule}


def test_each_rule_has_a_history_that_violates_it() -> None:
    assert REJECTED.keys() == RULES.keys() - {"server"}  # found in logs


def test_the_documentation_lists_all_rules_and_faults() -> None:
    text = Path("docs/reliability.md").read_text()
    for name, explanation in [*RULES.items(), *KINDS.items()]:
        assert f"| `{name}` | {explanation} |" in text


def test_each_fault_has_a_function() -> None:
    assert FAULTS.keys() == KINDS.keys()


def test_a_seed_gives_the_same_steps_again() -> None:
    first, again, other = [[*islice(steps(seed), 20)] for seed in (1, 1, 2)]
    assert first == again != other
    assert {fault.kind for step in first for fault in step.faults} == KINDS.keys()


def test_a_difference_that_lasts_is_reported_once() -> None:
    state = settled(ann=HERE, bob=HERE, eve=HERE)
    assert rules(state, state).count("ghost") == 1


def test_a_kill_may_take_a_close_with_it() -> None:
    closed: list[AnyRecord] = [Ended(4, "bob"), Closed(4, "bob", 2, 1000)]
    away = Announced(5, "ann", 1, "away", "bob")
    state = settled(ann=HERE, bob=AWAY)
    assert rules(*closed, away, state) == ["ghost"]
    assert rules(Step(3.5, ["kill worker=1"]), *closed, away, state) == []


def test_violations_name_their_step() -> None:
    refused = Refused(4, "internal")
    assert [each.step for each in check([*START, refused, Step(5, []), refused])] == [1, 2]


def test_a_history_is_saved_and_loaded(tmp_path: Path) -> None:
    history = [*START, *relay(1), arrives(1), settled(ann=AWAY, bob=HERE)]
    records.save(history, tmp_path / "history.jsonl")
    assert records.load(tmp_path / "history.jsonl") == history
