"""Messages between one socket and its room: relays both ways, announcements, changes of mode."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from channels.exceptions import ChannelFull

from rooms.models import Participant
from rooms.reconciling import Roster, Row
from signalling import protocol
from signalling.conf import SignallingSettings
from signalling.layers import ChannelGone
from signalling.protocol import CloseCode, errors
from signalling.sfu.mode import Mode
from signalling.transport.send_queue import Overflow
from signalling.transport.tasks import spawn
from signalling.worker.process import WorkerProcess
from signalling.worker.reconciler import Mark

from . import foreign, messages
from .detached import DetachedPeer
from .early import EarlyMessages
from .membership import Membership, UnknownSender
from .messages import Closed, Message, ModeChanged, Removed, RosterChange, Takeover
from .relays import Relays
from .replies import Replies
from .resumption import Resumption
from .room_mode import RoomMode
from .stores import Stores

logger = logging.getLogger("signalling")

MISSED = "missed"
"""The ``reason`` of a ``room:mode`` whose announcement was lost."""


class RoomEvents:
    """Owns the membership of one socket and handles the channel layer's messages for it."""

    def __init__(
        self,
        settings: SignallingSettings,
        *,
        worker: WorkerProcess,
        stores: Stores,
        replies: Replies,
        resumption: Resumption,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self.membership: Membership | None = None
        self._settings = settings
        self._worker = worker
        self._stores = stores
        self._replies = replies
        self._resumption = resumption
        self._tasks = tasks
        self._mode = RoomMode(settings, replies)
        self._early = EarlyMessages(settings.outbound_frames, settings.outbound_bytes)
        self.relays = Relays(stores=stores, replies=replies)

    # --- In -----------------------------------------------------------------------------------

    def deliver(self, received: Any) -> None:
        """Handle a ``Message`` of the channel layer.

        Raises ``Overflow``; ``ChannelFull`` to the sender of a relay that is refused.
        """
        membership = self.membership
        message: Message = received
        try:
            if membership is None:
                if message["type"] == "signalling.relay":
                    raise ChannelGone
                return
            if not membership.is_seated:
                self._keep(message)
                return
            match message["type"]:
                case "signalling.relay":
                    if membership.peer_id == message["target"]:
                        if message["sender"] not in membership.roster:
                            raise UnknownSender
                        self._resumption.receive(membership, message)
                case "signalling.roster":
                    self._roster_changed(membership, message)
                case "signalling.announcement":
                    if message["room"] == membership.room_code and (
                        message["peer_id"] in membership.roster
                    ):
                        self._replies.write(message["frame"])
                case "signalling.closed":
                    self._closed(membership, message)
                case "signalling.removed":
                    self._removed(membership, message)
                case "signalling.mode":
                    self._mode_changed(membership, message)
                case "signalling.takeover":
                    if message["peer_id"] == membership.peer_id:
                        self._moved(membership, message)
                case "signalling.handover":
                    logger.warning("The held frames of %s came too late", membership.peer_id)
                case "channel.lost" | "channel.refused":
                    self.relays.report(membership, message)
                case "channel.missed":
                    self._worker.suspensions.distrust()
                    self._worker.reconciler.request(membership.room_code)
                case _:
                    foreign.ignore_unknown(message)
        except (LookupError, TypeError, ValueError, AttributeError):
            if not foreign.ignore_malformed(message):
                raise

    def seated(self) -> None:
        """Deliver the messages that waited for ``room:joined`` to be sent."""
        membership = self.membership
        assert membership is not None
        membership.is_seated = True
        self._resumption.release(membership)
        for message in self._early.take():
            try:
                self.deliver(message)
            except ChannelFull:
                self.relays.refuse(message)
        self._resumption.settle_later(membership)

    def _keep(self, message: Message) -> None:
        """Keep a message until ``room:joined`` has been sent, unless it completes a takeover."""
        if self._resumption.accept_handover(message):
            return
        self._early.keep(message)

    def _roster_changed(self, membership: Membership, message: RosterChange) -> None:
        """Update the roster, and notify the client if the change is new."""
        if membership.room_code != message["room"]:
            return
        if message["peer_id"] != membership.peer_id:
            if membership.apply(message):
                self._replies.write(message["frame"])
                self.relays.roster_changed(membership)
        else:
            membership.note(message.get("version", 0))
            if message["change"] == "back" and message["number"] > membership.epoch:
                self._moved(membership, message)
        if membership.versions.has_gap:
            self._worker.reconciler.request(membership.room_code, membership.versions.latest)

    def _closed(self, membership: Membership, message: Closed) -> None:
        """Notify the client that its room was closed, and close the socket."""
        if membership.room_code != message["room"]:
            return
        self._forget(membership)
        self._replies.write(protocol.encode(protocol.RoomClosed(reason=message["reason"])))
        self._replies.close(CloseCode.ROOM_CLOSED)

    def _removed(self, membership: Membership, message: Removed) -> None:
        """Close the socket of the removed peer; for other sockets the peer has left."""
        peer_id, reason = message["peer_id"], message.get("reason", "removed")
        if peer_id != membership.peer_id:
            version = message.get("version", 0)
            left = messages.left(membership.room_code, peer_id, reason, version)
            self._roster_changed(membership, left)
            return
        self._forget(membership)
        self._replies.send_error(errors.removed(reason))

    # --- Reconciliation (``worker.reconciler.Member``) ------------------------------------------

    @property
    def channel_name(self) -> str:
        return self._stores.channel_name

    @property
    def is_busy(self) -> bool:
        return self._stores.is_busy

    def agrees_with(self, live_count: int, mode: Mode) -> bool:
        """Return whether the room has as many peers, and its mode is known."""
        mine = self.membership
        return mine is None or (
            len(mine.roster) + 1 == live_count  # workers on earlier builds count no changes
            and not mode.is_later_than(mine.mode)
        )

    def refresh(self, roster: Roster | None, mark: Mark) -> bool:
        """Apply a roster that was read from the database; ``None``: the room is empty.

        ``mark``: what this socket had seen when the read began. Return false if the roster must be
        read again: this read may be older than a change that has arrived since.
        """
        mine = self.membership
        if mine is None or mine is not mark.membership:
            return True
        live = {peer.peer_id: peer for peer in roster.participants} if roster else {}
        own = live.get(mine.peer_id)
        if roster is None or own is None:
            self._expel(errors.out_of_room())
            return True
        if own.epoch > mine.epoch:
            self._fence(mine)
            return True
        version = roster.room.roster_version
        if version < mark.complete:  # the database has lost its latest changes, in a failover
            mine.restart(version)
        elif version < mine.versions.complete or mine.unversioned != mark.unversioned:
            return False
        try:
            for frame in mine.catch_up(roster.participants, version):
                self._replies.write(frame)
            self.relays.roster_changed(mine)
            self.deliver(messages.mode_changed(roster.room, MISSED))
        except Overflow:
            self._replies.close_too_slow()
        return True

    def lose(self, row: Row | None) -> None:
        """Close the socket: this is the row of its peer, which has left or moved."""
        mine = self.membership
        if mine is None:
            return
        if row is not None and row.reason == Participant.Reason.ROOM_CLOSED:
            closed = Closed(type="signalling.closed", room=mine.room_code, reason="closed")
            self._closed(mine, closed)
        elif row is None or not row.is_live:
            self._expel(errors.removed(row.reason if row else ""))
        elif row.epoch > mine.epoch:
            self._fence(mine)
        else:  # away: its worker was declared dead
            self._replies.push_error(errors.unavailable(close=CloseCode.UNAVAILABLE))

    def _expel(self, error: protocol.ProtocolError) -> None:
        """Close the socket of a peer whose membership has ended."""
        if self.membership is not None:
            self._forget(self.membership)
        self._replies.push_error(error)

    def _fence(self, membership: Membership) -> None:
        """Close the socket of a peer that has another one. That one may still take it over."""
        self._replace_socket(membership, is_abandoned=False)
        self._replies.push_error(errors.resumed_elsewhere())

    # --- The mode of the room -----------------------------------------------------------------

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        """Open or close the peer's connections to the SFU, if it is in a room; see ``RoomMode``."""
        if self.membership is not None:
            self._mode.follow(self.membership, claim)

    def _mode_changed(self, membership: Membership, message: ModeChanged) -> None:
        """Notify the client of a new mode, or of losing its seat because of it."""
        if membership.room_code != message["room"]:
            return
        if membership.peer_id in message["surplus"]:
            self._forget(membership)
            pause = self._settings.switch_pause
            self._replies.send_error(errors.sfu_unavailable(retry_after=pause))
        else:
            self._mode.change(membership, message)

    # --- The end ------------------------------------------------------------------------------

    def detach(self, membership: Membership, *, is_abandoned: bool) -> None:
        """Keep the seat of a peer that may resume, and send ``peer:away`` to the others."""
        detached = self._replace_socket(membership, is_abandoned=is_abandoned)
        spawn(self._resumption.announce_away(detached), self._tasks)

    async def unsubscribe(self, room_code: str) -> None:
        """Stop receiving from a room, and drop the messages that have waited for the join."""
        self._early.clear()
        await self._stores.unsubscribe(room_code)

    def _replace_socket(self, membership: Membership, *, is_abandoned: bool) -> DetachedPeer:
        detached = self._resumption.detach(
            membership, self._early.take(), is_abandoned=is_abandoned
        )
        self.membership = None
        return detached

    def _moved(self, membership: Membership, message: Takeover | RosterChange) -> None:
        """Leave the peer to the socket that has resumed it, and close this one.

        That socket takes it over, or has announced that the peer is back, if it could not reach this.
        """
        self._replace_socket(membership, is_abandoned=False).deliver(message)
        self._replies.push_error(errors.resumed_elsewhere())

    def _forget(self, membership: Membership) -> None:
        """Drop a membership that has ended in the database."""
        self.membership = None
        if membership.link is not None:
            membership.link.close()
        spawn(self._unsubscribe_quietly(membership.room_code), self._tasks)

    async def _unsubscribe_quietly(self, room_code: str) -> None:
        try:
            await self.unsubscribe(room_code)
        except protocol.ProtocolError:
            logger.warning("Channel layer unavailable, socket stays in the group of a former room")
