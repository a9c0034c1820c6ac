"""By which path somebody is shown, and for how long nothing was heard of them."""

from __future__ import annotations

import pytest

from fake_peers.stats import RECENT, Path, Watching


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watching(clock: Clock) -> Watching:
    return Watching(clock)


def both(watching: Watching, path: Path) -> None:
    watching.took("bob", path, "video")
    watching.took("bob", path, "audio")


def test_nobody_is_shown_of_whom_nothing_comes(watching: Watching, clock: Clock) -> None:
    assert watching.shown("bob") is None
    watching.took("bob", "mesh", "video")
    assert watching.shown("bob") == "mesh"
    clock.now += RECENT
    assert watching.shown("bob") is None


def test_the_preferred_path_is_shown_from_when_it_brings_all_that_the_other_does(
    watching: Watching,
) -> None:
    both(watching, "mesh")
    watching.prefers = "sfu"
    watching.took("bob", "sfu", "video")
    assert watching.shown("bob") == "mesh", "the sound would be missing"
    watching.took("bob", "sfu", "audio")
    assert watching.shown("bob") == "sfu"


def test_what_does_not_come_any_more_need_not_come_by_the_other_path(
    watching: Watching, clock: Clock
) -> None:
    watching.took("bob", "mesh", "audio")
    watching.prefers = "sfu"
    clock.now += RECENT  # muted
    watching.took("bob", "mesh", "video")
    watching.took("bob", "sfu", "video")
    assert watching.shown("bob") == "sfu"


def test_the_other_path_is_shown_when_the_preferred_one_dies(
    watching: Watching, clock: Clock
) -> None:
    watching.prefers = "sfu"
    both(watching, "sfu")
    assert watching.shown("bob") == "sfu"
    clock.now += RECENT
    both(watching, "mesh")
    assert watching.shown("bob") == "mesh"


def test_a_path_whose_connection_is_closed_is_not_shown(watching: Watching) -> None:
    watching.prefers = "sfu"
    both(watching, "mesh")
    both(watching, "sfu")
    watching.lost_all("sfu")
    assert watching.shown("bob") == "mesh"
    assert watching.frames("bob", "sfu") == 1, "what has come still counts"


def test_a_silence_is_measured_on_the_path_that_is_shown(watching: Watching, clock: Clock) -> None:
    assert watching.gap("bob") is None
    both(watching, "mesh")
    clock.now += 0.1
    watching.took("bob", "sfu", "audio")  # not heard
    clock.now += 0.1
    assert watching.gap("bob") == pytest.approx(0.2), "and it goes on"
    both(watching, "mesh")
    clock.now += 0.02
    assert watching.gap("bob") == pytest.approx(0.2)
    watching.forget_gaps()
    assert watching.gap("bob") == pytest.approx(0.02)


def test_a_silence_from_one_path_to_the_other_counts(watching: Watching, clock: Clock) -> None:
    both(watching, "mesh")
    watching.lost("bob", "mesh")
    watching.prefers = "sfu"
    clock.now += 0.7
    both(watching, "sfu")
    assert watching.gap("bob") == pytest.approx(0.7)
