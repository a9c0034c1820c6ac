"""Restore the order of relays while a peer is reached through two channels."""

from __future__ import annotations

from collections.abc import Callable

from signalling.transport.shares import Shares

from .messages import HeldFrame


class ReorderBuffer:
    """Delivers the relays of each sender in the order of their numbers.

    After a resume, the relays of one sender arrive in two ways: those that it sent before it knew
    the new channel are forwarded from the previous one, later ones come directly. A frame whose
    number is not the next one waits for the missing ones, within the ``shares`` of the users. A
    number that is not greater than the last one comes from a sender that restarted its count.
    """

    def __init__(
        self,
        received: dict[str, int],
        deliver: Callable[[str, str | None], None],
        shares: Shares,
    ) -> None:
        """``deliver`` is called with a frame and its user; without a user if the frame waited."""
        self._received = received
        self._deliver = deliver
        self._shares = shares
        self._early: dict[str, dict[int, str]] = {}

    def add(self, sender: str, number: int, frame: str, user: str) -> None:
        """Deliver a frame and those that waited for it, or keep it until it is the next one.

        Raises ``ShareExceeded`` if too much of this user waits.
        """
        last = self._received.get(sender, 0)
        if number > last + 1:
            self._shares.take(user, len(frame))
            self._early.setdefault(sender, {})[number] = frame
            return
        self._received[sender] = max(number, last)
        try:
            self._deliver(frame, user)
        finally:
            self._deliver_following(sender)

    def _deliver_following(self, sender: str) -> None:
        """Deliver the frames that waited for the last one. They have been accepted before."""
        early = self._early.get(sender, {})
        while (following := self._received[sender] + 1) in early:
            self._received[sender] = following
            self._deliver(early.pop(following), None)

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
