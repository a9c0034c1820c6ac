"""The numbers of batches: gaps, late batches, and numbers that cannot be right."""

from __future__ import annotations

import pytest

from signalling.layers import numbers
from signalling.layers.numbers import FAR_AHEAD, NOTHING, RESYNC_SECONDS, BatchNumbers, Range

STREAM = ("source", "target")


class Stream:
    """One stream, and a clock."""

    def __init__(self, last: int = 10) -> None:
        self.numbers = BatchNumbers()
        self.numbers.begin(STREAM, last)
        self.now = 1000.0

    def accept(self, number: int, after: float = 0.0) -> Range | None:
        self.now += after
        return self.numbers.accept(STREAM, number, self.now)


def test_the_next_number_is_accepted() -> None:
    stream = Stream()
    assert stream.accept(11) == NOTHING
    assert stream.accept(12) == NOTHING


def test_a_gap_is_returned() -> None:
    assert Stream().accept(14) == Range(11, 13)


@pytest.mark.parametrize("late", [[10], [11, 12], [12, 11], [1, 2, 3], [12, 12]])
def test_late_batches_are_dropped(late: list[int]) -> None:
    stream = Stream()
    stream.accept(13)
    assert [stream.accept(number) for number in late] == [None] * len(late)
    assert stream.accept(14) == NOTHING


def test_a_forged_number_does_not_silence_a_process() -> None:
    """The dropped batches are returned as missing, so they are reported to their senders."""
    stream = Stream()
    stream.accept(5000)
    assert stream.accept(11, after=1) is None
    assert stream.accept(12, after=RESYNC_SECONDS - 0.1) is None
    assert stream.accept(13, after=0.2) == Range(11, 12)
    assert stream.accept(14) == NOTHING


@pytest.mark.parametrize("forged", [10 + FAR_AHEAD + 1, 2**64 - 1, 0, -1, -(2**63)])
def test_a_number_that_cannot_be_right_changes_nothing(forged: int) -> None:
    stream = Stream()
    assert stream.accept(forged) is None
    assert stream.accept(11) == NOTHING


def test_a_process_that_really_is_far_ahead_is_followed() -> None:
    stream = Stream()
    ahead = 2 * FAR_AHEAD
    assert stream.accept(ahead) is None
    assert stream.accept(ahead + 1, after=RESYNC_SECONDS / 2) is None
    assert stream.accept(ahead + 2, after=RESYNC_SECONDS / 2) == Range(11, ahead + 1)
    assert stream.accept(ahead + 3) == NOTHING


def test_replayed_batches_do_not_turn_a_running_stream_back() -> None:
    stream = Stream(last=100)
    for second in range(20):
        assert stream.accept(1 + second) is None
        if second % 2:
            assert stream.accept(101 + second // 2, after=1) is not None
        else:
            stream.now += 1


def test_interrupted_runs_are_not_followed() -> None:
    stream = Stream(last=100)
    assert [stream.accept(number, after=2) for number in (1, 2, 50, 51, 7, 7, 7)] == [None] * 7


def test_the_number_of_streams_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "MAX_STREAMS", 3)
    known = BatchNumbers()
    for source in "abc":
        known.begin((source, "all"), 0)
    known.accept(("a", "all"), 1, 0.0)
    known.begin(("d", "all"), 0)
    assert len(known) == 3
    assert known.last(("a", "all")) == 1
    assert known.last(("b", "all")) is None
