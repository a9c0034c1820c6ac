"""``SeenVersions``: changes that arrive in any order, gaps, and reads that close them."""

from __future__ import annotations

from itertools import permutations

import pytest

from signalling.peers import versions
from signalling.peers.versions import SeenVersions


@pytest.mark.parametrize("order", list(permutations([6, 7, 8])))
def test_changes_are_complete_in_whatever_order_they_arrive(order: tuple[int, ...]) -> None:
    seen = SeenVersions(5)
    for version in order:
        assert version not in seen
        seen.add(version)
        assert version in seen
    assert (seen.complete, seen.has_gap) == (8, False)


def test_the_first_change_of_a_room_is_no_gap() -> None:
    seen = SeenVersions()
    assert (seen.complete, seen.latest, seen.has_gap) == (0, 0, False)
    seen.add(1)
    assert (seen.complete, seen.has_gap) == (1, False)


def test_a_missing_change_is_a_gap() -> None:
    seen = SeenVersions(5)
    seen.add(7)
    assert (seen.complete, seen.latest, seen.has_gap) == (5, 7, True)
    assert 6 not in seen


@pytest.mark.parametrize(
    ("read_at", "complete", "has_gap"),
    [(4, 5, True), (6, 7, True), (7, 7, True), (8, 9, False), (12, 12, False)],
)
def test_a_read_closes_the_gaps_before_it(read_at: int, complete: int, has_gap: bool) -> None:
    seen = SeenVersions(5)
    for version in (7, 9):
        seen.add(version)
    seen.settle(read_at)
    assert (seen.complete, seen.has_gap) == (complete, has_gap)


def test_a_read_forgets_the_changes_that_it_contained() -> None:
    seen = SeenVersions(5)
    for version in (7, 8):
        seen.add(version)
    seen.settle(8)
    assert seen == SeenVersions(8, latest=8)


def test_known_changes_change_nothing() -> None:
    seen = SeenVersions(5)
    seen.add(5)
    seen.add(1)
    assert seen == SeenVersions(5, latest=5)


def test_a_gap_remembers_a_bounded_number_of_changes() -> None:
    seen = SeenVersions()
    for version in range(2, 3 * versions.MAX_AHEAD):
        seen.add(version)
    assert len(seen._ahead) == versions.MAX_AHEAD
    seen.settle(5000)
    assert (seen.complete, seen.has_gap) == (5000, False)
