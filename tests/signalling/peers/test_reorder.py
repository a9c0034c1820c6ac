"""``ReorderBuffer``: relays that arrive through two channels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalling.peers.reorder import ReorderBuffer
from signalling.transport.shares import ShareExceeded, Shares


class Receiver:
    """Collects the delivered frames. Refuses those that name a user of ``slow_for``."""

    def __init__(self, received: dict[str, int], *, max_frames: int = 100) -> None:
        self.frames: list[str] = []
        self.slow_for: set[str] = set()
        self.buffer = ReorderBuffer(received, self._deliver, Shares(max_frames, 1000))

    def add(self, sender: str, number: int, frame: str, user: str = "user") -> None:
        self.buffer.add(sender, number, frame, user)

    def _deliver(self, frame: str, user: str | None) -> None:
        if user in self.slow_for:
            raise ShareExceeded
        self.frames.append(frame)


@given(st.data(), st.integers(0, 5), st.integers(1, 12))
def test_frames_of_two_channels_are_delivered_once_and_in_order(
    data: st.DataObject, known: int, count: int
) -> None:
    """One channel carries the forwarded frames, the other the direct ones, in any interleaving."""
    numbers = list(range(known + 1, known + count + 1))
    split = data.draw(st.integers(0, count))
    channels = [numbers[:split], numbers[split:]]
    receiver = Receiver({"a": known})
    while any(channels):
        channel = data.draw(st.sampled_from([channel for channel in channels if channel]))
        number = channel.pop(0)
        receiver.add("a", number, str(number))
    assert receiver.frames == [str(number) for number in numbers]
    assert receiver.buffer.flush() == []


def test_flush_returns_the_frames_after_a_lost_one() -> None:
    receiver = Receiver({"a": 1})
    for number in (4, 3):
        receiver.add("a", number, str(number))
    assert receiver.frames == []
    assert receiver.buffer.flush() == [("a", 3, "3"), ("a", 4, "4")]
    receiver.add("a", 2, "a sender that restarted its count")
    assert receiver.frames == ["a sender that restarted its count"]


def test_senders_are_ordered_independently() -> None:
    receiver = Receiver({})
    receiver.add("a", 2, "a2")
    receiver.add("b", 1, "b1")
    assert receiver.frames == ["b1"]
    receiver.add("a", 1, "a1")
    assert receiver.frames == ["b1", "a1", "a2"]


def test_the_counters_passed_in_follow_the_delivered_frames() -> None:
    received = {"a": 1}
    receiver = Receiver(received)
    receiver.add("a", 2, "2")
    assert received == {"a": 2}
    receiver.add("a", 5, "5")
    assert received == {"a": 2}
    assert receiver.buffer.flush() == [("a", 5, "5")]
    assert received == {"a": 5}
    assert receiver.buffer.flush() == []


def test_what_waits_for_missing_frames_is_bounded_for_each_user() -> None:
    receiver = Receiver({}, max_frames=4)
    receiver.add("a", 3, "a3", "eve")
    receiver.add("b", 2, "b2", "eve")
    with pytest.raises(ShareExceeded):
        receiver.add("b", 3, "b3", "eve")
    receiver.add("c", 2, "c2", "carol")
    receiver.add("b", 1, "b1", "eve")
    assert receiver.frames == ["b1", "b2"]
    assert receiver.buffer.flush() == [("a", 3, "a3"), ("c", 2, "c2")]


def test_frames_that_waited_are_not_refused_later() -> None:
    """Their senders have been acknowledged."""
    receiver = Receiver({})
    receiver.slow_for = {"eve"}
    receiver.add("a", 2, "a2", "eve")
    with pytest.raises(ShareExceeded):
        receiver.add("a", 1, "a1", "eve")
    assert receiver.frames == ["a2"]
