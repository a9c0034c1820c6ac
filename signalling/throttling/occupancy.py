"""Limits the sockets that one user, or one address, has open in this process.

A count for all processes would need a shared store with every handshake, and would leave the
sockets of a killed process behind. No I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Self

from signalling.protocol import CloseCode, ErrorCode, ProtocolError

RETRY_SECONDS = 30


class Occupancy:
    """Counts the open sockets of each key."""

    def __init__(self) -> None:
        self._open: Counter[Hashable] = Counter()

    def enter(self, key: Hashable, most: int) -> bool:
        """Count one more socket and return ``True``, or return ``False`` if ``most`` are open."""
        if self._open[key] >= most:
            return False
        self._open[key] += 1
        return True

    def leave(self, key: Hashable) -> None:
        """Count one less. A key without sockets is forgotten."""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]

    def __len__(self) -> int:
        return len(self._open)


addresses = Occupancy()
users = Occupancy()


class UserPlace:
    """The place of one socket among those of its user, as a context manager.

    It is taken when the user is known, and given up on exit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._user_id: Hashable = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._user_id is not None:
            users.leave(self._user_id)
            self._user_id = None

    def take(self, user_id: Hashable) -> None:
        """Take the place, unless the socket has one.

        Raise ``ProtocolError`` with the code ``rate_limited`` and the close code 4429 if the user
        has too many sockets.
        """
        if self._user_id is not None:
            return
        if not users.enter(user_id, self._most):
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                "Too many sockets of this user are open; close one first.",
                close=CloseCode.FLOOD,
                retry_after=RETRY_SECONDS,
            )
        self._user_id = user_id
