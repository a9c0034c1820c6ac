"""Restore the order of relays while a peer is reached through two channels."""

from __future__ import annotations

from collections.abc import Callable

from .messages import HeldFrame


class ReorderBuffer:
    """Delivers the relays of each sender in the order of their numbers.

    After a resume, the relays of one sender arrive in two ways: those that it sent before it knew
    the new channel are forwarded from the previous one, later ones come directly. A frame whose
    number is not the next one waits for the missing ones. A number that is not greater than the
    last one comes from a sender that restarted its count.
    """

    def __init__(self, received: dict[str, int], deliver: Callable[[str], None]) -> None:
        self._received = received
        self._deliver = deliver
        self._early: dict[str, dict[int, str]] = {}

    def add(self, sender: str, number: int, frame: str) -> None:
        """Deliver a frame and those that waited for it, or keep it until it is the next one."""
        if number <= self._received.get(sender, 0):
            self._deliver(frame)
            return
        early = self._early.setdefault(sender, {})
        early[number] = frame
        while (following := self._received.get(sender, 0) + 1) in early:
            self._received[sender] = following
            self._deliver(early.pop(following))

    def flush(self) -> list[HeldFrame]:
        """Return the waiting frames in order. The missing ones were lost; their senders know."""
        waiting, self._early = self._early, {}
        frames = [
            (sender, number, early[number])
            for sender, early in waiting.items()
            for number in sorted(early)
        ]
        self._received.update({sender: number for sender, number, _ in frames})
        return frames
