"""``ReorderBuffer``: relays that arrive through two channels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signalling.peers.reorder import ReorderBuffer


@given(st.data(), st.integers(0, 5), st.integers(1, 12))
def test_frames_of_two_channels_are_delivered_once_and_in_order(
    data: st.DataObject, known: int, count: int
) -> None:
    """One channel carries the forwarded frames, the other the direct ones, in any interleaving."""
    numbers = list(range(known + 1, known + count + 1))
    split = data.draw(st.integers(0, count))
    channels = [numbers[:split], numbers[split:]]
    out: list[str] = []
    buffer = ReorderBuffer({"a": known}, out.append)
    while any(channels):
        channel = data.draw(st.sampled_from([channel for channel in channels if channel]))
        number = channel.pop(0)
        buffer.add("a", number, str(number))
    assert out == [str(number) for number in numbers]
    assert buffer.flush() == []


def test_flush_returns_the_frames_after_a_lost_one() -> None:
    out: list[str] = []
    buffer = ReorderBuffer({"a": 1}, out.append)
    for number in (4, 3):
        buffer.add("a", number, str(number))
    assert out == []
    assert buffer.flush() == [("a", 3, "3"), ("a", 4, "4")]
    buffer.add("a", 2, "a sender that restarted its count")
    assert out == ["a sender that restarted its count"]


def test_senders_are_ordered_independently() -> None:
    out: list[str] = []
    buffer = ReorderBuffer({}, out.append)
    buffer.add("a", 2, "a2")
    buffer.add("b", 1, "b1")
    assert out == ["b1"]
    buffer.add("a", 1, "a1")
    assert out == ["b1", "a1", "a2"]


def test_the_counters_passed_in_follow_the_delivered_frames() -> None:
    received = {"a": 1}
    buffer = ReorderBuffer(received, lambda frame: None)
    buffer.add("a", 2, "2")
    assert received == {"a": 2}
    buffer.add("a", 5, "5")
    assert received == {"a": 2}
    assert buffer.flush() == [("a", 5, "5")]
    assert received == {"a": 5}
    assert buffer.flush() == []
