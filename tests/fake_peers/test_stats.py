"""Which path a peer is displayed on, and how long its audio was interrupted."""

from __future__ import annotations

import pytest

from fake_peers.stats import TIMEOUT_SECONDS, Path, Stats


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stats(clock: Clock) -> Stats:
    return Stats(clock)


def record_both(stats: Stats, path: Path) -> None:
    stats.record_frame("bob", path, "video")
    stats.record_frame("bob", path, "audio")


def test_a_peer_without_media_is_not_displayed(stats: Stats, clock: Clock) -> None:
    assert stats.displayed_path("bob") is None
    stats.record_frame("bob", "mesh", "video")
    assert stats.displayed_path("bob") == "mesh"
    clock.now += TIMEOUT_SECONDS
    assert stats.displayed_path("bob") is None


def test_the_preferred_path_is_displayed_once_it_carries_everything_the_other_does(
    stats: Stats,
) -> None:
    record_both(stats, "mesh")
    stats.preferred_path = "sfu"
    stats.record_frame("bob", "sfu", "video")
    assert stats.displayed_path("bob") == "mesh", "the audio would be missing"
    stats.record_frame("bob", "sfu", "audio")
    assert stats.displayed_path("bob") == "sfu"


def test_media_that_has_stopped_need_not_arrive_on_the_preferred_path(
    stats: Stats, clock: Clock
) -> None:
    stats.record_frame("bob", "mesh", "audio")
    stats.preferred_path = "sfu"
    clock.now += TIMEOUT_SECONDS  # muted
    stats.record_frame("bob", "mesh", "video")
    stats.record_frame("bob", "sfu", "video")
    assert stats.displayed_path("bob") == "sfu"


def test_the_other_path_is_displayed_if_the_preferred_one_fails(stats: Stats, clock: Clock) -> None:
    stats.preferred_path = "sfu"
    record_both(stats, "sfu")
    assert stats.displayed_path("bob") == "sfu"
    clock.now += TIMEOUT_SECONDS
    record_both(stats, "mesh")
    assert stats.displayed_path("bob") == "mesh"


def test_a_closed_path_is_not_displayed(stats: Stats) -> None:
    stats.preferred_path = "sfu"
    record_both(stats, "mesh")
    record_both(stats, "sfu")
    stats.path_closed("sfu")
    assert stats.displayed_path("bob") == "mesh"
    assert stats.frames("bob", "sfu") == 1, "frames stay counted"


def test_audio_gaps_are_measured_on_the_displayed_path(stats: Stats, clock: Clock) -> None:
    assert stats.audio_gap("bob") is None
    record_both(stats, "mesh")
    clock.now += 0.1
    stats.record_frame("bob", "sfu", "audio")  # not displayed
    clock.now += 0.1
    assert stats.audio_gap("bob") == pytest.approx(0.2), "the current gap counts"
    record_both(stats, "mesh")
    clock.now += 0.02
    assert stats.audio_gap("bob") == pytest.approx(0.2)
    stats.reset_audio_gaps()
    assert stats.audio_gap("bob") == pytest.approx(0.02)


def test_a_gap_between_two_paths_counts(stats: Stats, clock: Clock) -> None:
    record_both(stats, "mesh")
    stats.connection_closed("bob", "mesh")
    stats.preferred_path = "sfu"
    clock.now += 0.7
    record_both(stats, "sfu")
    assert stats.audio_gap("bob") == pytest.approx(0.7)
