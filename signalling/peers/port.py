"""The port between handlers and sockets: what a handler may ask, and what it may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar

from rooms.defaults import new_peer_id
from rooms.services import Joined
from signalling.auth.tokens import Identity
from signalling.protocol import ServerEvent
from signalling.sfu.mode import MESH, Mode

if TYPE_CHECKING:
    from signalling.sfu.link import SfuLink

    from .messages import RosterChange

P = ParamSpec("P")
T = TypeVar("T")

Change = Literal["joined", "left", "away", "back", "updated"]


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
    is_resumable: bool = False
    epoch: int = 0
    """How often the membership has changed its socket."""
    epochs: dict[str, int] = field(default_factory=dict)
    """The epochs of the peers of the roster that have come back."""
    former: dict[str, str] = field(default_factory=dict)
    """Where peers of the roster were reached before: peer id → channel name."""
    has_gap: bool = False
    """Something that was sent to this peer is lost."""
    sent: dict[str, int] = field(default_factory=dict)
    """The number of the last relay to each peer."""
    heard: dict[str, int] = field(default_factory=dict)
    """The number of the last relay from each peer."""
    mode: Mode = MESH
    """How the media of the room travel."""
    link: SfuLink | None = None
    """What the peer has in an SFU."""

    def adopt(self, joined: Joined) -> None:
        """Take the seat that a join or a resume has given."""
        participant = joined.participant
        self.peer_id, self.epoch = participant.peer_id, participant.epoch
        self.is_resumable = joined.resume_token is not None
        self.number = participant.pk  # given under the room's lock
        self.mode = Mode.of(joined.room)
        # Interned: the same ids are in the rosters of all sockets of the room.
        self.roster = {intern(other.peer_id): intern(other.channel_name) for other in joined.others}
        self.epochs = {other.peer_id: other.epoch for other in joined.others if other.epoch}

    def forget(self, peer_id: str) -> None:
        """A peer has left the room."""
        for by_peer in (self.epochs, self.former, self.sent, self.heard):
            by_peer.pop(peer_id, None)


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

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        """Run a service that gives the membership a seat, and have the membership adopt that.

        Both are done even if the socket goes away meanwhile: its clean-up knows what to end.
        """

    async def record(self, function: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Run a service that writes down what has happened anyhow; true if that changed something.

        Where the database is away it is remembered, and written when that is back: true as well.
        """

    async def worker(self) -> str:
        """Return the id under which this process holds its lease."""

    async def take_over(self, channel: str) -> None:
        """Fetch what is held for this peer where it was reached until now, and fence who is there.

        Where nobody answers, the membership ``has_gap``.
        """

    def restore(self, held: Any) -> None:
        """Take what was held for this peer; ``seated`` lets it out."""

    def expect_heartbeat(self) -> None:
        """Hold the client to its ``ping`` from now on."""

    async def identify(self, token: str) -> Identity:
        """Return the identity that a token proves."""

    def seated(self) -> None:
        """``room:joined`` is out: hear what others have said to this peer meanwhile."""

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        """Have what the mode of the room needs; ``claim``: what the peer has in the SFU already."""

    async def subscribe(self, room_code: str) -> None:
        """Begin to hear what is published to a room."""

    async def unsubscribe(self, room_code: str) -> None:
        """Cease to hear it."""

    async def publish(self, change: RosterChange) -> None:
        """Tell the other peers of a room of a change, in the order of the calls."""

    async def relay(self, target_peer_id: str, frame: str) -> None:
        """Send a frame to a peer of the roster."""
