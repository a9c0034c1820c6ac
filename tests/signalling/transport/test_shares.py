"""``Shares``: what waits for one receiver, divided among its senders."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from channels.exceptions import ChannelFull
from hypothesis import given
from hypothesis import strategies as st

from signalling.transport.shares import ShareExceeded, Shares


def fill(shares: Shares, *senders: str, size: int = 1) -> Counter[str]:
    """Let the senders take frames in turn until all are refused; return how many each got."""
    taken: Counter[str] = Counter()
    active = [*senders]
    while active:
        for sender in [*active]:
            try:
                shares.take(sender, size)
            except ShareExceeded:
                active.remove(sender)
            else:
                taken[sender] += 1
    return taken


@pytest.mark.parametrize("limits", [(120, 10**9), (10**9, 120)])
@pytest.mark.parametrize(("senders", "each"), [(1, 60), (2, 40), (3, 30), (5, 20), (11, 10)])
def test_senders_leave_as_much_free_as_each_of_them_uses(
    limits: tuple[int, int], senders: int, each: int
) -> None:
    shares = Shares(*limits)
    names = [f"sender {number}" for number in range(senders)]
    assert set(fill(shares, *names).values()) == {each}
    shares.take("another sender", 1)


def test_a_refusal_is_raised_to_the_sender() -> None:
    with pytest.raises(ChannelFull):
        Shares(0, 100).take("eve", 1)
    with pytest.raises(ChannelFull):
        Shares(100, 10).take("eve", 11)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30), st.booleans()), max_size=60))
def test_the_bounds_hold_and_what_is_given_back_is_free_again(
    steps: list[tuple[str, int, bool]],
) -> None:
    shares = Shares(10, 100)
    waiting: list[tuple[str, int]] = []
    for sender, size, is_written in steps:
        with suppress(ShareExceeded):
            shares.take(sender, size)
            waiting.append((sender, size))
        assert len(waiting) <= 10
        assert sum(size for _, size in waiting) <= 100
        if is_written and waiting:
            shares.give_back(*waiting.pop(0))
    for frame in waiting:
        shares.give_back(*frame)
    assert fill(shares, "a") == {"a": 5}
