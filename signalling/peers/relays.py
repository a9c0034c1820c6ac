"""The relays that one client sends, and the reports of those that were not delivered."""

from __future__ import annotations

import logging
from collections import deque

from signalling import metrics
from signalling.protocol import ErrorCode, ProtocolError, errors

from .membership import Membership
from .messages import ChannelLost, ChannelRefused, Message, Relayed
from .replies import Replies
from .stores import Stores

logger = logging.getLogger("signalling")

MOST_UNCLAIMED = 256
"""The most reports of channels that no peer has; the oldest is dropped."""
UNDELIVERED = {ErrorCode.PEER_BUSY, ErrorCode.UNAVAILABLE}
"""The codes of relays that may be sent again."""


class Relays:
    """Sends the relays of a client, and reports to it, or to the senders, what was not delivered."""

    def __init__(self, *, stores: Stores, replies: Replies) -> None:
        self._stores = stores
        self._replies = replies
        self._unclaimed: deque[ChannelLost | ChannelRefused] = deque(maxlen=MOST_UNCLAIMED)

    async def send(self, membership: Membership, target: str, frame: str, *, wait: bool) -> None:
        """Send a frame to a peer of the roster; ``wait`` until the layer has taken it.

        A loss after that is reported with an ``error`` that has no ``id``.
        """
        number = membership.sent[target] = membership.sent.get(target, 0) + 1
        message: Relayed = {  # the literal is faster than the call, on the hottest path
            "type": "signalling.relay",
            "target": target,
            "sender": membership.peer_id,
            "epoch": membership.epoch,
            "user": membership.user,
            "number": number,
            "reply_channel": self._stores.channel_name,
            "frame": frame,
        }
        channel = membership.roster[target]
        try:
            if wait or not self._stores.can_put:
                await self._stores.send(channel, message)
            else:
                self._stores.put(channel, message)
        except ProtocolError as error:
            if error.code in UNDELIVERED:
                error.details["target_peer_id"] = target
            raise

    def refuse(self, message: Message) -> None:
        """Notify the sender of a relay that was kept at first and exceeds its share now."""
        if message["type"] != "signalling.relay":
            return
        refused = ChannelRefused(
            type="channel.refused",
            channel=self._stores.channel_name,
            peer_id=message["target"],  # its sender may not know this channel yet
        )
        try:
            self._stores.forward(message["reply_channel"], refused)
        except ProtocolError as error:
            logger.debug("The sender of a refused relay is gone: %r", error)

    def report(self, membership: Membership, message: ChannelLost | ChannelRefused) -> None:
        """Report relays that were lost or refused, after they were acknowledged, to the client."""
        metrics.totals["undelivered"] += 1
        self._report(membership, message)

    def roster_changed(self, membership: Membership) -> None:
        """Report losses at channels that no peer of the roster had before.

        A peer's former channel forwards relays to a new one that their senders do not know yet.
        """
        if self._unclaimed:
            waiting, self._unclaimed = self._unclaimed, deque(maxlen=MOST_UNCLAIMED)
            for message in waiting:
                self._report(membership, message)

    def _report(self, membership: Membership, message: ChannelLost | ChannelRefused) -> None:
        is_lost = message["type"] == "channel.lost"
        owner = message.get("peer_id")
        owners = membership.peers_at(message["channel"]) if owner is None else [owner]
        if not owners:
            self._unclaimed.append(message)
        for peer_id in owners:
            if peer_id in membership.roster:
                error = errors.unavailable(retry_after=1) if is_lost else errors.peer_busy()
                error.details["target_peer_id"] = peer_id
                self._replies.send_error(error)
