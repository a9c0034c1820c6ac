"""A peer without a socket: holds the frames for it until another socket resumes the peer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from channels.exceptions import ChannelFull

from rooms import resuming
from signalling.auth.identity import Identity
from signalling.database import run_in_background_thread, surrounded
from signalling.layers import ChannelGone
from signalling.protocol import CloseCode, ProtocolError
from signalling.transport.shares import Shares
from signalling.transport.subscription import ChannelSubscription

from . import foreign
from .membership import Membership
from .messages import (
    ChannelLost,
    ChannelRefused,
    Handover,
    HeldFrame,
    HeldState,
    Message,
    ModeChanged,
    Relayed,
    RosterChange,
    Takeover,
    announced_mode,
    room_group,
)

logger = logging.getLogger("signalling")

FORWARD_SECONDS = 10.0
"""How long frames are forwarded, for senders that do not know the peer's new channel yet."""


def leave_reason(close: CloseCode | None) -> str:
    """Return why a membership has ended that the server has ended with this close code."""
    return "removed" if close == CloseCode.REMOVED else "disconnected"


class DetachedPeer:
    """Receives the messages of a peer whose socket has closed.

    It first *holds* relays, within ``limits`` of frames and bytes. Each user has a share of these;
    beyond it the sender gets ``ShareExceeded``. When another socket takes over, on this worker or
    another one, it hands the held frames over and then *forwards* late ones. If that socket could not
    reach it, it forwards what it holds as well, once it knows that the peer has moved. It ends with
    the membership, and after ``lifetime`` seconds at the latest.
    """

    def __init__(
        self,
        subscription: ChannelSubscription,
        membership: Membership,
        *,
        limits: tuple[int, int],
        lifetime: float,
        frames: Iterable[HeldFrame] = (),
        on_end: Callable[[DetachedPeer], None],
    ) -> None:
        self.subscription = subscription
        self.membership = membership
        self._frames = [*frames]
        self._held: list[Relayed] = []
        self.moved_to: str | None = None
        self.has_ended = False
        self._is_holding = True
        held_bytes = sum(len(frame) for _, _, frame in self._frames)
        self._shares = Shares(limits[0] - len(self._frames), limits[1] - held_bytes)
        self._on_end = on_end
        self._closing: asyncio.Task[None] | None = None
        self._revoking: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(lifetime, self.end)
        subscription.pass_to(self.deliver)

    def deliver(self, received: Any) -> None:
        """Hold, forward or end. Raises ``ChannelFull`` to the sender of a relay that is refused."""
        message: Message = received
        try:
            self._handle(message)
        except (LookupError, TypeError, ValueError, AttributeError):
            if not foreign.ignore_malformed(message):
                raise

    def _handle(self, message: Message) -> None:
        mine = self.peer_id
        match message["type"]:
            case "signalling.relay":
                if message["target"] == mine:
                    self._relayed(message)
            case "signalling.takeover":
                if message["peer_id"] == mine:
                    self._hand_over(message)
            case "signalling.roster":
                if message["peer_id"] == mine:
                    self._changed(message)
            case "signalling.removed":
                if message["peer_id"] == mine:
                    self.end(has_left=True)
            case "signalling.mode":
                self._mode_changed(message)
            case "signalling.closed":
                self.end(has_left=True)
            case "channel.lost" | "channel.refused":
                self._lost(message)
            case "signalling.announcement" | "signalling.handover" | "channel.missed":
                pass
            case _:
                foreign.ignore_unknown(message)

    @property
    def peer_id(self) -> str:
        return self.membership.peer_id

    @property
    def channel_name(self) -> str:
        return self.subscription.name

    @property
    def epoch(self) -> int:
        return self.membership.epoch

    @property
    def identity(self) -> Identity | None:
        return self.membership.identity

    @property
    def room_code(self) -> str:
        return self.membership.room_code

    @property
    def frames(self) -> list[HeldFrame]:
        """What it holds, in the order of arrival."""
        held = [(relay["sender"], relay["number"], relay["frame"]) for relay in self._held]
        return [*self._frames, *held]

    def revoke(self, error: ProtocolError) -> None:
        """End the membership: the identity or the permission of its user is gone."""
        if self.moved_to is None and self._revoking is None:
            self._frames, self._held = [], []
            self._revoking = asyncio.create_task(self._revoke(leave_reason(error.close)))

    def state(self) -> HeldState:
        """Return what the socket that resumes the peer needs."""
        membership = self.membership
        return HeldState(
            frames=self.frames,
            sent=membership.sent,
            received=membership.received,
            received_epochs=membership.received_epochs,
            gap=membership.has_gap,
        )

    def stop_holding(self) -> None:
        """Refuse all relays from now on."""
        self._is_holding = False

    def forget_held(self) -> None:
        """Drop what it holds: that is stored now, and another worker delivers it."""
        self._frames, self._held = [], []

    def end(self, *, has_left: bool = False) -> None:
        """Close the channel. ``has_left``: the membership has ended too."""
        if not self.has_ended:
            self.has_ended = True
            self._timer.cancel()
            self._on_end(self)
            self._end_link(has_left=has_left and self.moved_to is None)
            self._closing = asyncio.create_task(self._close())

    def _end_link(self, *, has_left: bool = False) -> None:
        """Close the SFU connections if the peer has left; else release them to its next socket."""
        if self.membership.link is not None:
            if has_left:
                self.membership.link.close()
            else:
                self.membership.link.release()

    def move_to(self, channel: str) -> None:
        """Forward everything to a socket that has resumed the peer without a takeover.

        Its client knows of a gap, but relays may have been sent after that, by peers that did not
        know of the new socket yet. What it does not take is reported to the sender.
        """
        held, self._frames, self._held = self._held, [], []
        self._forward_to(channel)
        for relay in held:
            try:
                self._relayed(relay)
            except ChannelFull:
                self._report(relay)

    def _forward_to(self, channel: str) -> None:
        self.moved_to = channel
        self._end_link()
        self._on_end(self)
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(FORWARD_SECONDS, self.end)

    def _report(self, relay: Relayed) -> None:
        lost = ChannelLost(type="channel.lost", channel=self.channel_name, peer_id=self.peer_id)
        with suppress(ChannelFull):  # the sender has moved, or has left
            self.subscription.send(relay["reply_channel"], dict(lost))

    def _relayed(self, message: Relayed) -> None:
        if self.moved_to is not None:
            self.subscription.send(self.moved_to, dict(message))
            return
        if self.has_ended:
            raise ChannelGone
        if not self._is_holding:
            raise ChannelFull
        sender = message["sender"]
        epoch = message.get("epoch")
        self.membership.check_sender(sender, epoch)
        if self.membership.epoch:  # a former channel may forward older ones
            self.membership.check_turn(sender, message["number"], epoch)
        # Later ones need not wait for a refused one.
        self.membership.take(sender, message["number"], epoch)
        self._shares.take(message.get("user", sender), len(message["frame"]))
        self._held.append(message)

    def _lost(self, report: ChannelLost | ChannelRefused) -> None:
        """Pass on the report of a relay of this peer that was not delivered, or note it.

        Only the socket that has sent the relay knows for certain to which peer.
        """
        if self.moved_to is None:
            self.membership.has_gap = True
            return
        owners = [] if "peer_id" in report else self.membership.peers_at(report["channel"])
        with suppress(ChannelFull):  # that socket is gone, and its successor gets a gap
            for passed in [{"peer_id": owner} for owner in owners] or [{}]:
                self.subscription.send(self.moved_to, {**report, **passed})

    def _changed(self, message: RosterChange) -> None:
        """End if the peer has left, and move if it has resumed without a takeover."""
        if message["change"] == "left":
            self.end(has_left=True)
        elif (
            message["change"] == "back"
            and message["number"] > self.membership.epoch
            and self.moved_to is None
        ):
            self.move_to(message["channel"])

    def _mode_changed(self, message: ModeChanged) -> None:
        """Drop the SFU connections that belong to an earlier mode or version."""
        mode, membership = announced_mode(message), self.membership
        is_here = self.moved_to is None and membership.room_code == message["room"]
        if is_here and mode.is_later_than(membership.mode):
            membership.mode = mode
            if membership.link is not None:
                membership.link.follow(mode)

    def _hand_over(self, message: Takeover) -> None:
        handover = Handover(
            type="signalling.handover",
            peer_id=self.membership.peer_id,
            **self.state(),
        )
        try:
            self.subscription.send(message["reply_channel"], dict(handover))
        except ChannelFull:
            logger.warning("The socket that resumed %s has closed", self.membership.peer_id)
            return
        self._frames, self._held = [], []
        self._forward_to(message["reply_channel"])

    async def _revoke(self, reason: str) -> None:
        try:
            end = surrounded(resuming.end_revoked, self.membership.surroundings)
            await run_in_background_thread(end)(self.peer_id, epoch=self.epoch, reason=reason)
        except Exception as error:  # the seat is free after the resume window
            logger.warning("Could not end the membership of %s: %r", self.peer_id, error)
        self.end(has_left=True)

    async def _close(self) -> None:
        try:
            group = room_group(self.membership.room_code)
            await self.subscription.layer.group_discard(group, self.subscription.name)
        except Exception as error:
            logger.warning("Could not remove a channel from its group: %r", error)
        finally:
            await self.subscription.close()
