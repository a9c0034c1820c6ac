"""Divides what may wait for one receiver among its senders."""

from __future__ import annotations

from channels.exceptions import ChannelFull


class ShareExceeded(ChannelFull):
    """Too much of this sender waits for the receiver. Raised to the sender, not to the receiver."""


class Shares:
    """The frames and bytes that wait for one receiver, by sender.

    A sender may use at most as much as it leaves free: alone a half, two senders a third each, and
    so on. So a few senders can never fill the whole, and all others still have room. (This is the
    dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6 (2), 1998.)
    """

    __slots__ = ("_free_bytes", "_free_frames", "_used")

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._free_frames = max_frames
        self._free_bytes = max_bytes
        self._used: dict[str, tuple[int, int]] = {}
        """Frames and bytes by sender."""

    def take(self, sender: str, size: int) -> None:
        """Count one frame of ``size`` bytes that waits. Raises ``ShareExceeded``."""
        frames, used = self._used.get(sender, (0, 0))
        if frames >= self._free_frames or used + size > self._free_bytes:
            raise ShareExceeded
        self._used[sender] = frames + 1, used + size
        self._free_frames -= 1
        self._free_bytes -= size

    def give_back(self, sender: str, size: int) -> None:
        """Stop counting a frame that was taken before."""
        frames, used = self._used[sender]
        if frames > 1:
            self._used[sender] = frames - 1, used - size
        else:
            del self._used[sender]
        self._free_frames += 1
        self._free_bytes += size
