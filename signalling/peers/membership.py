"""The place of a socket in one room: its seat, its roster and its relay counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from sys import intern

from channels.exceptions import ChannelFull

from rooms.defaults import new_peer_id
from rooms.models import Participant
from rooms.services import Joined
from signalling import database
from signalling.auth.identity import Identity
from signalling.sfu.link import SfuLink
from signalling.sfu.mode import MESH, Mode

from . import messages
from .channels import PreviousChannels
from .messages import RosterChange
from .versions import SeenVersions

DEPARTED = 64
"""The most departed peers that are remembered."""


class StaleSocket(ChannelFull):
    """A relay of a socket whose peer has another one now. Raised to the sender."""


class UnknownSender(ChannelFull):
    """A relay of a peer that is not in the roster: its join has not arrived. Raised to the sender."""


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
    previous_channels: PreviousChannels = field(default_factory=PreviousChannels)
    relay_epochs: dict[str, int] = field(default_factory=dict, compare=False)
    """The epochs of the peers that have resumed: relays of earlier ones are refused."""
    away: set[str] = field(default_factory=set, compare=False)
    """The peers in the roster that have lost their sockets."""
    departed: dict[str, int] = field(default_factory=dict)
    """Peers that have left, and the versions of that: their join may be announced or read later.
    Dropped when all changes up to the version have been seen."""
    unwritten: dict[str, int] = field(default_factory=dict, compare=False)
    """The departed peers whose leave was announced before it was written: the epochs of the sockets
    that have announced it. These may be former sockets, which could not reach the database."""
    versions: SeenVersions = field(default_factory=SeenVersions, compare=False)
    """The changes of the roster that this socket has seen."""
    changes: dict[str, int] = field(default_factory=dict, compare=False)
    """The versions in which peers of the roster have last changed, after this peer joined."""
    unversioned: int = field(default=0, compare=False)
    """The number of changes that came without a version."""
    has_gap: bool = False
    """Frames to this peer may have been lost."""
    sent: dict[str, int] = field(default_factory=dict)
    """The number of the last relay to each peer."""
    received: dict[str, int] = field(default_factory=dict)
    """The number of the last relay from each peer."""
    received_epochs: dict[str, int] = field(default_factory=dict, compare=False)
    """Their epochs in these relays."""
    identity: Identity | None = None
    """The identity of the peer's socket, or of the one that it has lost."""
    surroundings: database.Surroundings = field(default_factory=database.current, compare=False)
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
        self.relay_epochs = dict(self.epochs)
        self.away = {other.peer_id for other in joined.others if other.is_away}
        version = joined.room.roster_version
        self.versions = SeenVersions(complete=version, latest=version)

    def take_gap(self) -> bool:
        """Return ``has_gap`` and reset it: the client is being notified."""
        gap, self.has_gap = self.has_gap, False
        return gap

    def check_sender(self, sender: str, epoch: int | None) -> None:
        """Raise ``StaleSocket`` if the sender of a relay has resumed on another socket since.

        ``epoch``: that of the sender's socket; ``None`` from earlier builds.
        """
        known = self.relay_epochs.get(sender, 0)
        if epoch != known and epoch is not None:
            if epoch < known:
                raise StaleSocket
            self.relay_epochs[sender] = epoch

    def check_turn(self, sender: str, number: int, epoch: int | None) -> None:
        """Raise ``StaleSocket`` for a relay that is older than the last one of its sender.

        It was held up in a former channel. A sender that has resumed since may count from 1 again.
        """
        if number <= self.received.get(sender, 0):
            if (epoch or 0) <= self.received_epochs.get(sender, 0):
                raise StaleSocket
            self.received[sender] = number - 1

    def take(self, sender: str, number: int, epoch: int | None) -> None:
        self.received[sender] = number
        if epoch:
            self.received_epochs[sender] = epoch

    def peers_at(self, channel: str) -> list[str]:
        """Return the peers of the roster that have this channel, or had it before they resumed."""
        return self.previous_channels.peers_at(channel, self.roster)

    def apply(self, change: RosterChange) -> bool:
        """Update the roster. Return false for a change that is already known or out of date."""
        version = change.get("version", 0)
        if version and version in self.versions:
            return False
        if version and self._is_early(change, version):
            self.versions.miss(version)
            return False
        is_new = self._apply(change, version)
        if is_new and version and change["change"] != "left":
            self.changes[change["peer_id"]] = version
        self.note(version)
        return is_new

    def note(self, version: int) -> None:
        """Note that the change with this version has been seen, or one that has none (0)."""
        if not version:
            self.unversioned += 1
            return
        self.versions.add(version)
        if self.departed:
            self._forget_departed()

    def _is_early(self, change: RosterChange, version: int) -> bool:
        """Return whether an earlier change of the same peer is missing, without which this is void.

        A read of the roster will contain both.
        """
        peer_id = change["peer_id"]
        known_channel = self.roster.get(peer_id)
        if self.changes.get(peer_id, 0) > version:
            return False
        if peer_id in self.departed:  # it may have another socket, which this is about
            return change["change"] in ("away", "back") and peer_id in self.unwritten
        match change["change"]:
            case "away":
                return known_channel != change["channel"]
            case "back":
                return known_channel is None
        return False

    def _apply(self, change: RosterChange, version: int) -> bool:
        peer_id, channel, number = change["peer_id"], change["channel"], change["number"]
        known_channel = self.roster.get(peer_id)
        match change["change"]:
            case "joined":
                # With a lower number it is in the roster, or had left before this peer joined.
                is_known = known_channel is not None or peer_id in self.departed
                is_new = not is_known and (number > self.number or peer_id in self.unwritten)
                if is_new:
                    self.unwritten.pop(peer_id, None)
                    self.roster[intern(peer_id)] = intern(channel)
                return is_new
            case "left":
                is_unwritten = version == 0 and "version" in change
                if is_unwritten and number < self.epochs.get(peer_id, 0):
                    return False
                self._depart(peer_id, version)
                if is_unwritten and not self.departed.get(peer_id):
                    self.unwritten[peer_id] = max(number, self.unwritten.get(peer_id, 0))
                return known_channel is not None
            case "away":  # out of date if the peer is back already
                is_new = known_channel == channel and peer_id not in self.away
                if is_new:
                    self.away.add(peer_id)
                return is_new
            case "back":
                is_new = known_channel is not None and number > self.epochs.get(peer_id, 0)
                if is_new:
                    self.epochs[peer_id] = number
                    self.relay_epochs[peer_id] = max(number, self.relay_epochs.get(peer_id, 0))
                    self.previous_channels.add(self.roster[peer_id], peer_id)
                    self.roster[peer_id] = intern(channel)
                    self.away.discard(peer_id)
                return is_new

    def missed(self, participants: list[Participant], version: int = 0) -> Iterator[RosterChange]:
        """Yield the changes that turn the roster into the room's live ``participants``.

        They were read in this ``version`` of the roster. Peers that have joined later stay, and
        peers that have left do not return.
        """
        live = {participant.peer_id for participant in participants}
        for peer_id in self.roster.keys() - live:
            if self.changes.get(peer_id, 0) <= version:
                yield messages.left(self.room_code, peer_id, "disconnected")
        for participant in participants:
            if participant.peer_id == self.peer_id or participant.peer_id in self.departed:
                continue
            known, channel = self.roster.get(participant.peer_id), participant.channel_name
            if known is None:
                yield messages.joined(self.room_code, participant)
            elif known != channel:
                yield messages.back(self.room_code, participant)
            until = participant.away_until
            is_known_away = known == channel and participant.peer_id in self.away
            if until is not None and not is_known_away:
                yield messages.away(self.room_code, participant.peer_id, channel, until)

    def catch_up(self, participants: list[Participant], version: int) -> Iterator[str]:
        """Make the roster what was read in this ``version``; yield the frames of the changes."""
        for participant in participants:
            if self._may_return(participant.peer_id, participant.epoch):
                del self.departed[participant.peer_id]
        for change in [*self.missed(participants, version)]:
            if self._apply(change, version):
                yield change["frame"]
        self.settle(version, participants)

    def settle(self, version: int, participants: Iterable[Participant] = ()) -> None:
        """Note that the roster contains all changes up to this version, as these have been read."""
        for participant in participants:
            peer_id, epoch = participant.peer_id, participant.epoch
            if peer_id in self.roster and epoch > self.epochs.get(peer_id, 0):
                self.epochs[peer_id] = epoch
                self.relay_epochs[peer_id] = max(epoch, self.relay_epochs.get(peer_id, 0))
        self.versions.settle(version)
        self._forget_departed()

    def restart(self, version: int) -> None:
        """Begin again at an earlier version of the roster: the database has lost the later ones."""
        self.versions.restart(version)
        self.changes.clear()

    def _depart(self, peer_id: str, version: int) -> None:
        if version == 0 or version not in self.versions:
            self.departed[peer_id] = version or self.departed.get(peer_id, 0)
            if len(self.departed) > DEPARTED:
                oldest = next(iter(self.departed))
                del self.departed[oldest]
                self.unwritten.pop(oldest, None)
        self._forget(peer_id)
        if version:
            self.unwritten.pop(peer_id, None)

    def _may_return(self, peer_id: str, epoch: int) -> bool:
        """Return whether a departed peer has a later socket than the one that announced its leave."""
        is_unwritten = self.departed.get(peer_id) == 0
        return is_unwritten and epoch > self.unwritten.get(peer_id, epoch)

    def _forget_departed(self) -> None:
        """Forget the departed peers whose joins, and all reads before, can only be late now."""
        complete = self.versions.complete
        self.departed = {
            peer_id: version
            for peer_id, version in self.departed.items()
            if not 0 < version <= complete
        }

    def _forget(self, peer_id: str) -> None:
        for by_peer in (
            self.roster,
            self.epochs,
            self.relay_epochs,
            self.changes,
            self.sent,
            self.received,
            self.received_epochs,
        ):
            by_peer.pop(peer_id, None)
        self.away.discard(peer_id)
        self.previous_channels.forget(peer_id)
