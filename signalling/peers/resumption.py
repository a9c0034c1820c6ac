"""How a peer outlives its socket: detach, hand over, take over, restore."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from time import monotonic

from channels.exceptions import ChannelFull

from rooms import resuming
from rooms.clock import clock
from signalling.conf import SignallingSettings
from signalling.layers import Undeliverable
from signalling.protocol import CloseCode
from signalling.transport.heartbeat import Heartbeat
from signalling.transport.send_queue import SendQueue
from signalling.transport.shares import Shares
from signalling.transport.subscription import ChannelSubscription
from signalling.transport.timers import Timers
from signalling.worker.process import SETTLE_SECONDS, WorkerProcess

from . import foreign, messages
from .detached import DetachedPeer
from .membership import Membership
from .messages import HeldFrame, HeldState, Message, Relayed, Takeover
from .reorder import ReorderBuffer
from .replies import Replies
from .stores import Stores

logger = logging.getLogger("signalling")

FINAL_CLOSES = {
    CloseCode.PROTOCOL_VIOLATIONS,
    CloseCode.AUTHENTICATION,
    CloseCode.REMOVED,
    CloseCode.FLOOD,
}
"""A client that is closed with one of these has no right to its seat any more."""
TAKEOVER_SECONDS = 2.0
"""How long a resuming socket waits for the held frames."""
ROUND_TRIP_SECONDS = 1.0
"""Relays written at least this long before the client's last frame have arrived."""
SPARE_SECONDS = 10.0
"""How long a detached peer outlives its resume window if no message ends it."""


class Resumption:
    """Detaches the peer of one socket, and resumes on it a peer that was detached elsewhere.

    ``release_subscription`` keeps the socket's channel open for the detached peer.
    """

    def __init__(
        self,
        settings: SignallingSettings,
        *,
        worker: WorkerProcess,
        stores: Stores,
        replies: Replies,
        send_queue: SendQueue,
        heartbeat: Heartbeat,
        timers: Timers,
        subscription: ChannelSubscription,
        release_subscription: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._stores = stores
        self._replies = replies
        self._send_queue = send_queue
        self._heartbeat = heartbeat
        self._timers = timers
        self._subscription = subscription
        self._release_subscription = release_subscription
        self._restored: list[HeldFrame] = []
        self._handover: asyncio.Future[HeldState] | None = None
        self._taken_from = ""
        self._reorder: ReorderBuffer | None = None
        self._relayed_at = 0.0

    def is_possible(self, membership: Membership, has_hung_up: bool) -> bool:
        """Return whether the client has a resume token and did not end the membership itself."""
        closed_with = self._replies.closed_with
        # A peer that has resumed before still has its previous token, valid for a few seconds.
        has_token = membership.is_seated or membership.epoch > 0
        has_ended = closed_with in FINAL_CLOSES or (closed_with is None and has_hung_up)
        return membership.is_resumable and has_token and not has_ended

    # --- Detach -------------------------------------------------------------------------------

    def detach(
        self, membership: Membership, undelivered: Iterable[Message], *, is_abandoned: bool
    ) -> DetachedPeer:
        """Replace the socket by a ``DetachedPeer``, which receives everything from now on.

        ``undelivered``: messages that this socket has received and not handled.
        """
        membership.has_gap |= self._may_have_lost_frames(is_abandoned)
        waiting = self._reorder.flush() if self._reorder else []
        detached = DetachedPeer(
            self._subscription,
            membership,
            frames=[*self._restored, *waiting],
            limits=self._settings.held_limits,
            lifetime=self._settings.resume_window + SPARE_SECONDS,
            on_end=self._worker.detached.discard,
        )
        self._release_subscription()
        self._worker.detached.add(detached)
        if membership.link is not None:
            membership.link.detach_client()
        for message in undelivered:
            try:
                detached.deliver(message)
            except ChannelFull:  # the sender has been acknowledged already
                membership.has_gap = True
        return detached

    async def announce_away(self, detached: DetachedPeer) -> None:
        """Store that the peer is away and send ``peer:away`` to its room."""
        membership = detached.membership
        lost_at = monotonic()
        until = clock.now() + timedelta(seconds=self._settings.resume_window)
        room_code, peer_id = membership.room_code, membership.peer_id
        await self._stores.record(
            partial(messages.away, room_code, peer_id, detached.subscription.name, until),
            resuming.mark_away,
            peer_id,
            epoch=membership.epoch,
            lost_at=lost_at,
            gap=membership.has_gap,
        )

    def _may_have_lost_frames(self, is_abandoned: bool) -> bool:
        """Return whether a relay may have been written to a connection that had already failed.

        After an unexpected end: true if a relay was written later than one round trip before the
        client's last frame, when the connection still worked. After a close by the server nothing
        is lost but the frames in the queue; unless this process was suspended since that frame, and
        has then written to a client that may have gone in the meantime.
        """
        if self._send_queue.waiting or is_abandoned:
            return True
        doubtful_since = self._heartbeat.proven_at - ROUND_TRIP_SECONDS
        if self._replies.closed_with not in {None, CloseCode.HEARTBEAT}:
            stood_still_at = self._worker.suspensions.stood_still_at
            if stood_still_at < doubtful_since:
                return False
            doubtful_since = stood_still_at
        return self._relayed_at > doubtful_since

    # --- Resume -------------------------------------------------------------------------------

    async def take_over(self, membership: Membership, channel: str) -> None:
        """Fetch the held frames from the peer's previous ``channel`` and close the socket there.

        Without an answer the peer resumes with a gap. So it does on the same socket again, if that
        did not get the answer to a resume.
        """
        if channel == self._stores.channel_name:
            membership.has_gap = True
            return
        takeover = Takeover(
            type="signalling.takeover",
            peer_id=membership.peer_id,
            reply_channel=self._stores.channel_name,
        )
        self._handover = asyncio.get_running_loop().create_future()
        self._taken_from = channel
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                await self._stores.send(channel, takeover)
                held = await self._handover
        except Exception as error:
            cause = error.__cause__ or error
            logger.warning("%s resumes without its held frames: %r", membership.peer_id, cause)
            membership.has_gap = True
        else:
            self.restore(membership, held)

    def restore(self, membership: Membership, held: HeldState) -> None:
        """Adopt the held frames and the relay counters. ``release`` sends the frames."""
        membership.sent, membership.received = held["sent"], held["received"]
        membership.has_gap |= held["gap"]
        # From earlier builds: each sender that has resumed may have begun to count again.
        unknown = dict.fromkeys(membership.relay_epochs, -1)
        membership.received_epochs = held.get("received_epochs", unknown)
        self._restored = held["frames"]
        self._reorder = ReorderBuffer(
            membership.received, self._replies.write, Shares(*self._settings.held_limits)
        )

    def accept_handover(self, message: Message) -> bool:
        """Take the answer to ``take_over``, or the news that there is none.

        Return whether ``message`` was one of these.
        """
        handover = self._handover
        is_lost = message["type"] == "channel.lost" and message["channel"] == self._taken_from
        if handover is None or not (is_lost or message["type"] == "signalling.handover"):
            return False
        if handover.done():
            return True
        if foreign.ignore_malformed(message):
            handover.set_exception(Undeliverable("the previous channel sent an invalid answer"))
        elif message["type"] == "signalling.handover":
            handover.set_result(message)
        else:
            handover.set_exception(Undeliverable("the previous channel is closed"))
        return True

    def release(self, membership: Membership) -> None:
        """Send the held frames of peers that are still in the room, after ``room:joined``."""
        frames, self._restored = self._restored, []
        if frames:
            self._relayed_at = monotonic()
        self._write_held(membership, frames)

    def settle_later(self, membership: Membership) -> None:
        """Stop reordering when all senders know the new channel."""
        if self._reorder is not None:
            self._timers.start(SETTLE_SECONDS, partial(self._settle, membership))

    def _settle(self, membership: Membership) -> None:
        if self._reorder is not None:
            waiting, self._reorder = self._reorder.flush(), None
            self._write_held(membership, waiting)

    def _write_held(self, membership: Membership, frames: Iterable[HeldFrame]) -> None:
        """Send frames that have waited, except those of peers that have left in the meantime."""
        for sender, _, frame in frames:
            if sender in membership.roster:
                self._replies.write(frame)

    # --- Relays -------------------------------------------------------------------------------

    def receive(self, membership: Membership, message: Relayed) -> None:
        """Write a relay to the client, in the order of its sender.

        Raises ``ShareExceeded`` and ``StaleSocket``.
        """
        sender, epoch = message["sender"], message.get("epoch", 0)
        if epoch != membership.relay_epochs.get(sender, 0):
            membership.check_sender(sender, message.get("epoch"))
        if membership.epoch:
            membership.check_turn(sender, message["number"], epoch)
        user = message.get("user", sender)
        if membership.is_resumable:
            self._relayed_at = monotonic()
        if self._reorder is not None:
            if epoch:
                membership.received_epochs[sender] = epoch
            self._reorder.add(sender, message["number"], message["frame"], user)
        else:
            membership.take(sender, message["number"], epoch)
            self._replies.write(message["frame"], user)
