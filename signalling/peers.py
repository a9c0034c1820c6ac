"""The port between handlers and sockets: what a handler may ask, and what it may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from rooms.models import new_peer_id

from .protocol import ServerEvent
from .tokens import Identity

P = ParamSpec("P")
T = TypeVar("T")

Change = Literal["joined", "left", "updated"]


@dataclass
class Membership:
    """A socket's place in one room. The roster is who may be relayed to: peer id → channel name.

    ``number`` grows with each join of the room, whichever peer's it is. Until it ``is_seated``, its
    ``room:joined`` is not out, and what others say to it waits.
    """

    room_code: str
    peer_id: str = field(default_factory=new_peer_id)
    roster: dict[str, str] = field(default_factory=dict)
    number: int = 0
    is_seated: bool = False


class Peer(Protocol):
    """One socket. Errors of the layers below come as ``ProtocolError``."""

    identity: Identity | None
    membership: Membership | None
    address: str
    channel_name: str

    async def answer(self, event: ServerEvent) -> None:
        """Send the natural reply of the request that is being handled."""

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a service in the database's thread; it ends even if the socket goes away meanwhile."""

    async def identify(self, token: str) -> Identity:
        """Return the identity that a token proves."""

    def seated(self) -> None:
        """``room:joined`` is out: hear what others have said to this peer meanwhile."""

    async def subscribe(self, room_code: str) -> None:
        """Begin to hear what is published to a room."""

    async def unsubscribe(self, room_code: str) -> None:
        """Cease to hear it."""

    async def publish(self, membership: Membership, change: Change, event: Any) -> None:
        """Tell the other peers of a room of a change, in the order of the calls."""

    async def relay(self, target_peer_id: str, frame: str) -> None:
        """Send a frame to a peer of the roster."""
