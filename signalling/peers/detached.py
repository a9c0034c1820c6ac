"""A peer without a socket: it keeps what is sent to it, and hands it over to the socket that comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from channels.exceptions import ChannelFull

from signalling.sfu.mode import ModeChanged, announced
from signalling.transport.subscription import ChannelSubscription

from .messages import HeldFrame, Relayed, Takeover, room_group
from .port import Membership

logger = logging.getLogger("signalling")

FORWARD_SECONDS = 10.0  # for those who have not heard yet where the peer is now


class DetachedPeer:
    """Stands where the peer was reached, and hears its channel in its stead.

    First it *holds* what comes, up to a bound past which senders are told ``peer_busy``. When another
    socket takes over, on this worker or another one, it hands that over, and then *forwards* the little
    that is still sent here. It ends with the membership, and after ``lifetime`` seconds in any case.
    """

    def __init__(
        self,
        subscription: ChannelSubscription,
        membership: Membership,
        *,
        max_frames: int,
        max_bytes: int,
        lifetime: float,
        frames: Iterable[HeldFrame] = (),
        ended: Callable[[DetachedPeer], None],
    ) -> None:
        self.subscription = subscription
        self.membership = membership
        self.frames = [*frames]
        self.moved_to: str | None = None
        self.is_over = False
        self._is_holding = True
        self._room_left = max_frames
        self._bytes_left = max_bytes
        self._ended = ended
        self._closing: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(lifetime, self.end)
        subscription.pass_to(self.deliver)

    def deliver(self, message: dict[str, Any]) -> None:
        """Hold, forward or end. Raises ``ChannelFull`` at the sender of what cannot be held."""
        mine = self.membership.peer_id
        match message["type"]:
            case "signalling.relay" if message["target"] == mine:
                self._relayed(message)  # type: ignore[arg-type]
            case "signalling.takeover" if message["peer_id"] == mine:
                self._hand_over(message)  # type: ignore[arg-type]
            case "signalling.roster" if message["peer_id"] == mine:
                self._is_said_of_me(message)
            case "signalling.removed" if message["peer_id"] == mine:
                self.end(has_left=True)
            case "signalling.mode" if self.moved_to is None:
                self._mode_changed(message)  # type: ignore[arg-type]
            case "signalling.closed":
                self.end(has_left=True)
            case "channel.lost":  # of what the peer had sent: it is not there to be told
                self.membership.has_gap = True

    @property
    def holds(self) -> dict[str, Any]:
        """What whoever takes over needs to go on from here."""
        membership = self.membership
        return {
            "frames": self.frames,
            "sent": membership.sent,
            "heard": membership.heard,
            "gap": membership.has_gap,
        }

    def stop_holding(self) -> None:
        """Take no more: what comes from here on is refused to its sender."""
        self._is_holding = False

    def end(self, *, has_left: bool = False) -> None:
        """Hear no more."""
        if not self.is_over:
            self.is_over = True
            self._timer.cancel()
            self._ended(self)
            self._leave_sfu(for_good=has_left and self.moved_to is None)
            self._closing = asyncio.create_task(self._close())

    def _leave_sfu(self, *, for_good: bool = False) -> None:
        """Give up what the peer has there; it is ended where the peer has left, and may be claimed else."""
        if self.membership.link is not None:
            self.membership.link.end(is_ours=for_good)

    def _relayed(self, message: Relayed) -> None:
        if self.moved_to is not None:
            self.subscription.send(self.moved_to, dict(message))
            return
        size = len(message["frame"])
        if not self._is_holding or not self._room_left or size > self._bytes_left:
            raise ChannelFull
        self._room_left -= 1
        self._bytes_left -= size
        self.frames.append((message["sender"], message["number"], message["frame"]))
        self.membership.heard[message["sender"]] = message["number"]

    def _is_said_of_me(self, message: dict[str, Any]) -> None:
        """It left; or it is back, and what is held here was not asked for: it is given up as lost."""
        is_elsewhere = message["change"] == "back" and message["number"] > self.membership.epoch
        if message["change"] == "left" or (is_elsewhere and self.moved_to is None):
            self.end(has_left=message["change"] == "left")

    def _mode_changed(self, message: ModeChanged) -> None:
        """What the peer has in an SFU is of no use in a mesh, nor in another version."""
        mode, membership = announced(message), self.membership
        if membership.room_code == message["room"] and mode.is_later_than(membership.mode):
            membership.mode = mode
            if membership.link is not None:
                membership.link.follow(mode)

    def _hand_over(self, message: Takeover) -> None:
        handover = {
            "type": "signalling.handover",
            "peer_id": self.membership.peer_id,
            **self.holds,
        }
        try:
            self.subscription.send(message["reply_channel"], handover)
        except ChannelFull:
            logger.warning("who takes %s over has gone again", self.membership.peer_id)
            return
        self.frames = []
        self.moved_to = message["reply_channel"]
        self._leave_sfu()
        self._ended(self)
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(FORWARD_SECONDS, self.end)

    async def _close(self) -> None:
        try:
            group = room_group(self.membership.room_code)
            await self.subscription.layer.group_discard(group, self.subscription.name)
        except Exception as error:
            logger.warning("a channel stays in its group: %r", error)
        finally:
            await self.subscription.close()


class ReorderBuffer:
    """Puts the relays of each sender in order for the short time in which they come two ways.

    Who has not heard that a peer has moved sends to where it was, and that is forwarded; who has heard
    sends here. A number that is not the next one waits for those before it; one that is not later than
    the last is of a sender that counts anew.
    """

    def __init__(self, heard: dict[str, int], deliver: Callable[[str], None]) -> None:
        self._heard = heard
        self._deliver = deliver
        self._early: dict[str, dict[int, str]] = {}

    def arrives(self, sender: str, number: int, frame: str) -> None:
        if number <= self._heard.get(sender, 0):
            self._deliver(frame)
            return
        early = self._early.setdefault(sender, {})
        early[number] = frame
        while (following := self._heard.get(sender, 0) + 1) in early:
            self._heard[sender] = following
            self._deliver(early.pop(following))

    def rest(self) -> list[HeldFrame]:
        """Give up what still waits: what is missing before it was lost, and reported to its sender."""
        waiting, self._early = self._early, {}
        frames = [
            (sender, number, early[number])
            for sender, early in waiting.items()
            for number in sorted(early)
        ]
        self._heard.update({sender: number for sender, number, _ in frames})
        return frames
