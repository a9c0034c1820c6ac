"""The place of a socket in one room: its seat, its roster and its relay counters."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import intern

from rooms.defaults import new_peer_id
from rooms.models import Participant
from rooms.services import Joined
from signalling.auth.tokens import Identity
from signalling.sfu.link import SfuLink
from signalling.sfu.mode import MESH, Mode

from . import messages
from .messages import RosterChange

LEFT_EARLY = 64
"""The most peers whose late announcement is awaited."""


@dataclass
class Membership:
    """A socket's membership in one room.

    Until it ``is_seated``, its ``room:joined`` has not been sent, and messages from the room wait.
    """

    room_code: str
    user: str = ""
    """The key of the user, whose peers share the room's limits."""
    peer_id: str = field(default_factory=new_peer_id)
    roster: dict[str, str] = field(default_factory=dict)
    """The peers that may be relayed to: peer id → channel name."""
    number: int = 0
    """The join number: a peer that joined the room later has a greater one."""
    is_seated: bool = False
    is_resumable: bool = False
    epoch: int = 0
    """How often the membership has moved to another socket."""
    epochs: dict[str, int] = field(default_factory=dict)
    """The epochs of the peers in the roster that have resumed."""
    previous_channels: dict[str, str] = field(default_factory=dict)
    """The previous channels of the peers in the roster that have resumed."""
    left_early: deque[str] = field(default_factory=lambda: deque(maxlen=LEFT_EARLY))
    """Peers that left before their join was announced: workers announce independently."""
    has_gap: bool = False
    """Frames to this peer may have been lost."""
    sent: dict[str, int] = field(default_factory=dict)
    """The number of the last relay to each peer."""
    received: dict[str, int] = field(default_factory=dict)
    """The number of the last relay from each peer."""
    identity: Identity | None = None
    """The identity of the peer's socket, or of the one that it has lost."""
    mode: Mode = MESH
    link: SfuLink | None = None
    """The peer's connections to the SFU, in a room that has one."""

    def adopt(self, joined: Joined) -> None:
        """Take over the seat and the roster that a join or a resume has returned."""
        participant = joined.participant
        self.peer_id, self.epoch = participant.peer_id, participant.epoch
        self.is_resumable = joined.resume_token is not None
        self.number = participant.pk  # assigned while the room's row was locked
        self.mode = Mode.of(joined.room)
        # Interned: the same ids are in the rosters of all sockets of the room.
        self.roster = {intern(other.peer_id): intern(other.channel_name) for other in joined.others}
        self.epochs = {other.peer_id: other.epoch for other in joined.others if other.epoch}

    def take_gap(self) -> bool:
        """Return ``has_gap`` and reset it: the client is being notified."""
        gap, self.has_gap = self.has_gap, False
        return gap

    def apply(self, change: RosterChange) -> bool:
        """Update the roster. Return false for a change that is already known or out of date."""
        peer_id, channel, number = change["peer_id"], change["channel"], change["number"]
        known_channel = self.roster.get(peer_id)
        match change["change"]:
            case "joined":
                # A peer with a lower join number is in the roster, or had left before this peer
                # joined. The message is then late: it was sent during a former membership.
                is_new = (
                    known_channel is None
                    and number > self.number
                    and peer_id not in self.left_early
                )
                if is_new:
                    self.roster[intern(peer_id)] = intern(channel)
                return is_new
            case "left":
                if known_channel is None:
                    self.left_early.append(peer_id)
                self._forget(peer_id)
                return known_channel is not None
            case "away":  # out of date if the peer is back already
                return known_channel == channel
            case "back":
                is_new = known_channel is not None and number > self.epochs.get(peer_id, 0)
                if is_new:
                    assert known_channel is not None
                    self.epochs[peer_id] = number
                    self.previous_channels[peer_id] = known_channel
                    self.roster[peer_id] = intern(channel)
                return is_new

    def missed(self, participants: list[Participant]) -> Iterator[RosterChange]:
        """Yield the changes that turn the roster into the room's live ``participants``."""
        live = {participant.peer_id for participant in participants}
        for peer_id in self.roster.keys() - live:
            yield messages.left(self.room_code, peer_id, "disconnected")
        for participant in participants:
            known = self.roster.get(participant.peer_id)
            if known is None:
                yield messages.joined(self.room_code, participant)
            elif known != participant.channel_name:
                yield messages.back(self.room_code, participant)

    def _forget(self, peer_id: str) -> None:
        for by_peer in (
            self.roster,
            self.epochs,
            self.previous_channels,
            self.sent,
            self.received,
        ):
            by_peer.pop(peer_id, None)
