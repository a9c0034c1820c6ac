"""What the worker knows of its sockets and detached peers."""

from __future__ import annotations

from typing import Any, Protocol

from .reconciler import Member
from .revocations import IdentityHolder


class Socket(IdentityHolder, Protocol):
    """A consumer, as the worker sees it."""

    @property
    def room(self) -> Member: ...

    def close_for_drain(self) -> None:
        """Ask the client to reconnect, to another worker if there is one, and close."""


class Detached(IdentityHolder, Protocol):
    """A peer without a socket, as the worker sees it."""

    @property
    def peer_id(self) -> str: ...

    @property
    def epoch(self) -> int: ...

    def state(self) -> Any:
        """Return what another worker needs to resume the peer, as JSON."""

    def stop_holding(self) -> None:
        """Refuse further relays."""

    def forget_held(self) -> None:
        """Drop what it holds: that is stored now, and another worker delivers it."""

    @property
    def channel_name(self) -> str: ...

    def move_to(self, channel: str) -> None:
        """Forward everything to the socket that has resumed the peer."""

    def end(self, *, has_left: bool = False) -> None:
        """Close the peer's channel. ``has_left``: the membership has ended too."""
