"""Messages between one socket and its room: relays both ways, announcements, changes of mode."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from channels.exceptions import ChannelFull

from rooms import services, switching
from rooms.exceptions import RoomNotFound
from signalling import database, protocol
from signalling.conf import SignallingSettings
from signalling.protocol import CloseCode, errors
from signalling.sfu import routes
from signalling.sfu.link import SfuLink
from signalling.transport.send_queue import Overflow
from signalling.transport.tasks import spawn

from . import foreign, messages
from .detached import DetachedPeer
from .early import EarlyMessages
from .membership import Membership
from .messages import Closed, Message, ModeChanged, Removed, RosterChange, Takeover
from .relays import Relays
from .replies import Replies
from .resumption import Resumption
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
        stores: Stores,
        replies: Replies,
        resumption: Resumption,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self.membership: Membership | None = None
        self._settings = settings
        self._stores = stores
        self._replies = replies
        self._resumption = resumption
        self._tasks = tasks
        self._early = EarlyMessages(settings.outbound_frames, settings.outbound_bytes)
        self.relays = Relays(stores=stores, replies=replies)

    # --- In -----------------------------------------------------------------------------------

    def deliver(self, received: Any) -> None:
        """Handle a ``Message`` of the channel layer. Raises ``Overflow`` and ``ShareExceeded``."""
        membership = self.membership
        if membership is None:
            return
        message: Message = received
        try:
            if not membership.is_seated:
                self._keep(message)
                return
            match message["type"]:
                case "signalling.relay":
                    if membership.peer_id == message["target"] and (
                        message["sender"] in membership.roster
                    ):
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
                    self._taken_over(membership, message)
                case "signalling.handover":
                    logger.warning("The held frames of %s came too late", membership.peer_id)
                case "channel.lost" | "channel.refused":
                    self.relays.report(membership, message)
                case "channel.missed":
                    spawn(self._refresh(), self._tasks)
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
        elif message["change"] == "back" and message["number"] > membership.epoch:
            self._resumed_elsewhere(membership)

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
            left = messages.left(membership.room_code, peer_id, reason)
            self._roster_changed(membership, left)
            return
        self._forget(membership)
        self._replies.send_error(errors.removed(reason))

    async def _refresh(self) -> None:
        """Compare the roster with the database, after announcements may have been lost."""
        membership = self.membership
        if membership is None:
            return
        try:
            participants = await self._stores.database(
                services.list_participants, membership.room_code
            )
            room = await self._stores.database(switching.get_room, membership.room_code)
        except database.DATABASE_UNAVAILABLE:
            logger.warning("Database unavailable, roster not refreshed")
            return
        except RoomNotFound:  # deleted since the participants were read
            participants = []
        if self.membership is not membership:
            return
        if membership.peer_id not in {participant.peer_id for participant in participants}:
            self._forget(membership)
            self._replies.push_error(errors.out_of_room())
            return
        try:
            for change in membership.missed(participants):
                self.deliver(change)
            self.deliver(messages.mode_changed(room, MISSED))
        except Overflow:
            self._replies.close_too_slow()

    # --- The mode of the room -----------------------------------------------------------------

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        """Open or close the peer's connections to the SFU.

        ``claim`` names the connections that a resumed peer already has there.
        """
        membership = self.membership
        if membership is None or not (membership.mode.is_sfu or membership.link):
            return
        if membership.link is None:
            membership.link = SfuLink(membership, self._replies.push)
        membership.link.follow(
            membership.mode, claim=claim, close_after=self._settings.switch_seconds
        )

    def _mode_changed(self, membership: Membership, message: ModeChanged) -> None:
        """Notify the client of a new mode, or of losing its seat because of it."""
        if membership.room_code != message["room"]:
            return
        if membership.peer_id in message["surplus"]:
            self._forget(membership)
            pause = self._settings.switch_pause
            self._replies.send_error(errors.sfu_unavailable(retry_after=pause))
            return
        mode = messages.announced_mode(message)
        if not mode.is_later_than(membership.mode):
            return
        membership.mode = mode
        event = routes.event(
            mode,
            membership.room_code,
            membership.peer_id,
            reason=message["reason"],
            until=message["until"],
        )
        self._replies.write(protocol.encode(event))
        self.follow_mode(None)

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

    def _taken_over(self, membership: Membership, message: Takeover) -> None:
        """Hand the peer over to the socket that has resumed it, and close this one."""
        if message["peer_id"] == membership.peer_id:
            self._replace_socket(membership, is_abandoned=False).deliver(message)
            self._replies.push_error(errors.resumed_elsewhere())

    def _resumed_elsewhere(self, membership: Membership) -> None:
        """Close this socket, whose peer was resumed by a worker that could not reach it."""
        if membership.link is not None:
            membership.link.release()
        self._forget(membership)
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
