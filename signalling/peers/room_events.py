"""What a socket hears of its room over the channel layer; and how its peer goes away and is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from sys import intern
from time import monotonic
from typing import Any

from channels.exceptions import ChannelFull
from django.utils import timezone

from rooms import resuming, services
from rooms import switching as domain_modes
from signalling import database, metrics, protocol
from signalling.conf import SignallingSettings
from signalling.layers import ChannelGone, Undeliverable
from signalling.protocol import CloseCode, ProtocolError, errors
from signalling.sfu import mode as sfu_mode
from signalling.sfu import routes
from signalling.sfu.link import SfuLink
from signalling.sfu.mode import ModeChanged
from signalling.transport.send_queue import Overflow
from signalling.worker import process

from . import messages
from .detached import DetachedPeer, ReorderBuffer
from .messages import Closed, Handover, HeldFrame, Relayed, RosterChange, Takeover
from .port import Membership, P, T
from .replies import SpeakingConsumer

logger = logging.getLogger("signalling")

TAKEOVER_SECONDS = 2.0  # for where the peer was reached to answer
ROUND_TRIP_SECONDS = 1.0
SPARE_SECONDS = 10.0  # for the end of a window to be written and heard of


class MemberConsumer(SpeakingConsumer):
    """A socket in a room. Subclasses write ``leave``."""

    settings: SignallingSettings
    presence: process.Presence
    membership: Membership | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[dict[str, Any]] = []
        self._kept: list[HeldFrame] = []
        self._handover: asyncio.Future[Handover] | None = None
        self._in_order: ReorderBuffer | None = None
        self._heard_at = monotonic()
        self._relayed_at = 0.0
        self._shielded: asyncio.Future[Any] | None = None

    async def leave(self) -> None:
        """End the membership, or have its peer go away."""
        raise NotImplementedError

    # --- The channel layer's messages ---------------------------------------------------------

    def deliver(self, message: dict[str, Any]) -> None:
        membership = self.membership
        if membership is None:
            return
        if not membership.is_seated:
            self._before_it_is_seated(message)
            return
        match message["type"]:
            case "signalling.relay":
                self._relayed(membership, message)  # type: ignore[arg-type]
            case "signalling.roster":
                self._roster_changed(membership, message)  # type: ignore[arg-type]
            case "signalling.closed":
                self._closed(membership, message)  # type: ignore[arg-type]
            case "signalling.removed":
                self._removed(membership, message["peer_id"])
            case "signalling.mode":
                self._mode_changed(membership, message)  # type: ignore[arg-type]
            case "signalling.takeover":
                self._taken_over(membership, message)
            case "signalling.handover":
                logger.warning("what was held for %s comes too late", membership.peer_id)
            case "channel.lost":
                self._lost(membership, message["channel"])
            case "channel.missed":
                self._spawn(self._refresh())
            case unknown:
                raise ValueError(f"no handler for {unknown}")

    def _before_it_is_seated(self, message: dict[str, Any]) -> None:
        """Keep what others say until ``room:joined`` is out, but for the answer to a takeover."""
        kind, handover = message["type"], self._handover
        if kind in {"signalling.handover", "channel.lost"} and handover is not None:
            if handover.done():
                return
            if kind == "signalling.handover":
                handover.set_result(message)  # type: ignore[arg-type]
            else:
                handover.set_exception(Undeliverable("nobody is there to be taken over"))
        elif len(self._held) >= self.settings.outbound_frames:
            raise Overflow
        else:
            self._held.append(message)

    def _relayed(self, membership: Membership, message: Relayed) -> None:
        """An offer, an answer or a candidate; not of one who is not, or no longer, here."""
        sender = message["sender"]
        if membership.peer_id != message["target"] or sender not in membership.roster:
            return
        if membership.is_resumable:
            self._relayed_at = monotonic()
        if self._in_order is not None:
            self._in_order.arrives(sender, message["number"], message["frame"])
        else:
            membership.heard[sender] = message["number"]
            self.write(message["frame"])

    def _roster_changed(self, membership: Membership, message: RosterChange) -> None:
        """Another peer of the room joined, left or changed; what is known is not said twice."""
        peer_id, channel = message["peer_id"], message["channel"]
        if membership.room_code != message["room"]:
            return
        if peer_id == membership.peer_id:
            if message["change"] == "back" and message["number"] > membership.epoch:
                self._resumed_elsewhere(membership)
            return
        is_known = peer_id in membership.roster
        match message["change"]:
            case "joined":
                # Who came before this peer is in its list, or left before it came: an echo of a
                # former membership in this room, which was still on its way.
                is_news = not is_known and message["number"] > membership.number
                if is_news:
                    membership.roster[intern(peer_id)] = intern(channel)
            case "left":
                is_news = membership.roster.pop(peer_id, None) is not None
                membership.forget(peer_id)
            case "away":  # not where it has come back already
                is_news = membership.roster.get(peer_id) == channel
            case "back":
                is_news = is_known and message["number"] > membership.epochs.get(peer_id, 0)
                if is_news:
                    membership.epochs[peer_id] = message["number"]
                    membership.former[peer_id] = membership.roster[peer_id]
                    membership.roster[peer_id] = intern(channel)
            case _:
                is_news = is_known
        if is_news:
            self.write(message["frame"])

    def _closed(self, membership: Membership, message: Closed) -> None:
        """The room was closed, and the memberships of its peers with it."""
        if membership.room_code != message["room"]:
            return
        self._forget(membership)
        self.write(protocol.encode(protocol.RoomClosed(reason=message["reason"])))
        self._close(CloseCode.ROOM_CLOSED)

    def _removed(self, membership: Membership, peer_id: str) -> None:
        """Somebody was removed from outside: this peer, or another one of its room."""
        if peer_id != membership.peer_id:
            removed = messages.left(membership.room_code, peer_id, "removed")
            self._roster_changed(membership, removed)
            return
        self._forget(membership)
        self.interrupt(errors.removed())

    def _mode_changed(self, membership: Membership, message: ModeChanged) -> None:
        """The media of the room travel in another way; perhaps without this peer."""
        mode = sfu_mode.announced(message)
        if membership.room_code != message["room"]:
            return
        if membership.peer_id in message["surplus"]:
            self._forget(membership)
            self.interrupt(errors.sfu_unavailable(retry_after=self.settings.switch_pause))
            return
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
        self.write(protocol.encode(event))
        self.follow_mode(None)

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        membership = self.membership
        if membership is None or not (membership.mode.is_sfu or membership.link):
            return
        if membership.link is None:
            membership.link = SfuLink(membership, self._write_aside)
        membership.link.follow(membership.mode, claim=claim, linger=self.settings.switch_seconds)

    def _write_aside(self, frame: str) -> None:
        """``write`` from elsewhere than this socket's own turn."""
        try:
            self.write(frame)
        except Overflow:
            self.overflowed()

    def _forget(self, membership: Membership) -> None:
        self.membership = None
        if membership.link is not None:
            membership.link.end()
        self._spawn(self._unsubscribe(membership.room_code))

    def _lost(self, membership: Membership, channel: str) -> None:
        """What was acknowledged to this peer did not arrive after all."""
        metrics.totals["undelivered"] += 1
        for peer_id, reached_at in membership.roster.items():
            if channel in (reached_at, membership.former.get(peer_id)):
                lost = errors.unavailable(retry_after=1)
                lost.details["target_peer_id"] = peer_id
                self.interrupt(lost)

    async def _refresh(self) -> None:
        """Announcements may have been lost: the database knows who is here."""
        membership = self.membership
        if membership is None:
            return
        try:
            present = await self.database(services.list_participants, membership.room_code)
            room = await self.database(domain_modes.get_room, membership.room_code)
        except database.DATABASE_UNAVAILABLE:
            logger.warning("cannot refresh a roster: the database is away")
            return
        if self.membership is not membership:
            return
        if membership.peer_id not in {participant.peer_id for participant in present}:
            self._forget(membership)
            self._say(errors.out_of_room())
            return
        for change in messages.missed(membership, present):
            self.deliver(dict(change))
        self.deliver(dict(sfu_mode.changed(room, sfu_mode.MISSED)))

    # --- Away and back ------------------------------------------------------------------------

    def _taken_over(self, membership: Membership, message: dict[str, Any]) -> None:
        """Another socket has resumed this membership: hand over, and close."""
        if message["peer_id"] == membership.peer_id:
            self._stand_in(membership).deliver(message)
            self._say(errors.resumed_elsewhere())

    def _resumed_elsewhere(self, membership: Membership) -> None:
        """The same, where the other one could not reach this socket."""
        if membership.link is not None:
            membership.link.end(is_ours=False)
        self._forget(membership)
        self._say(errors.resumed_elsewhere())

    def _stand_in(self, membership: Membership) -> DetachedPeer:
        """Put an ``DetachedPeer`` in the place of this socket, from this moment on."""
        assert self.subscription is not None
        membership.has_gap |= self._has_lost_something()
        away = DetachedPeer(
            self.subscription,
            membership,
            frames=[*self._kept, *(self._in_order.rest() if self._in_order else ())],
            max_frames=self.settings.held_frames,
            max_bytes=self.settings.held_bytes,
            lifetime=self.settings.resume_window + SPARE_SECONDS,
            ended=self.presence.away.discard,
        )
        self.presence.away.add(away)
        self.subscription = self.membership = None
        if membership.link is not None:
            membership.link.fall_silent()
        for message in self._held:  # nobody is told: what is too much is a gap
            try:
                away.deliver(message)
            except ChannelFull:
                membership.has_gap = True
        return away

    def _go_away(self, membership: Membership) -> None:
        """Keep the seat, for the client comes back."""
        away = self._stand_in(membership)
        self._spawn(self._tell_away(away))

    def _has_lost_something(self) -> bool:
        """Tell whether a relay may have been written to a connection that was dead already.

        What is written before a close frame of ours arrives; of an end that came by surprise, nothing
        says when it was. A frame of the client proves that it lived, but for a round trip.
        """
        if self.send_queue.waiting or self.is_abandoned:
            return True
        came_by_surprise = self._closed_with in {None, CloseCode.HEARTBEAT}
        return came_by_surprise and self._relayed_at > self._heard_at - ROUND_TRIP_SECONDS

    async def _tell_away(self, away: DetachedPeer) -> None:
        membership = away.membership
        until = timezone.now() + timedelta(seconds=self.settings.resume_window)
        counted = await self.record(
            resuming.mark_away,
            membership.peer_id,
            epoch=membership.epoch,
            until=until,
            gap=membership.has_gap,
        )
        if counted:
            await self.publish(
                messages.away(
                    membership.room_code, membership.peer_id, away.subscription.name, until
                )
            )

    async def take_over(self, channel: str) -> None:
        membership = self.membership
        assert membership is not None
        message = Takeover(
            type="signalling.takeover",
            peer_id=membership.peer_id,
            reply_channel=self.channel_name,
        )
        self._handover = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(TAKEOVER_SECONDS):
                await self.channel_layer.send(channel, message)
                handover = await self._handover
        except Exception as error:  # whatever it is, the peer is back, if not whole
            logger.warning("%s is back without what was held for it: %r", membership.peer_id, error)
            membership.has_gap = True
        else:
            self.restore(handover)

    def restore(self, held: Any) -> None:
        membership = self.membership
        assert membership is not None
        membership.sent, membership.heard = held["sent"], held["heard"]
        membership.has_gap |= held["gap"]
        self._kept = held["frames"]
        self._in_order = ReorderBuffer(membership.heard, self.write)

    def seated(self) -> None:
        membership = self.membership
        assert membership is not None
        membership.is_seated = True
        kept, self._kept = self._kept, []
        for sender, _, frame in kept:
            if sender in membership.roster:
                self.write(frame)
        held, self._held = self._held, []
        for message in held:
            self.deliver(message)
        if self._in_order is not None:
            self._timers.start(process.SETTLE_SECONDS, self._settle)

    def _settle(self) -> None:
        """Whoever relays to this peer knows by now where it is."""
        if self._in_order is not None:
            for _, _, frame in self._in_order.rest():
                self.write(frame)
            self._in_order = None

    # --- The stores ---------------------------------------------------------------------------

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._shield(database.database_sync(function)(*args, **kwargs))

    async def _shield(self, work: Coroutine[Any, Any, T]) -> T:
        call = self._shielded = asyncio.ensure_future(work)
        return await asyncio.shield(call)

    async def record(self, function: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            return await self.database(function, *args, **kwargs)
        except database.DATABASE_UNAVAILABLE as error:
            logger.warning("the database is away, and is told later: %s", error)
            write = partial(database.database_sync(function), *args, **kwargs)
            self.presence.remember(write)
            return True

    async def subscribe(self, room_code: str) -> None:
        await in_layer(
            self.channel_layer.group_add(messages.room_group(room_code), self.channel_name)
        )

    async def unsubscribe(self, room_code: str) -> None:
        self._held.clear()
        await in_layer(
            self.channel_layer.group_discard(messages.room_group(room_code), self.channel_name)
        )

    async def _unsubscribe(self, room_code: str) -> None:
        try:
            await self.unsubscribe(room_code)
        except ProtocolError:
            logger.warning(
                "a socket stays in the group of a closed room: its channel layer is away"
            )

    async def publish(self, change: RosterChange) -> None:
        group = messages.room_group(change["room"])
        try:
            await in_layer(self.channel_layer.group_send(group, change))
        except RostersRefresh:
            if change["change"] == "updated":
                raise
            logger.warning("some hear later: %s %s", change["peer_id"], change["change"])


class RostersRefresh(ProtocolError):
    """The broker is away; all workers read their rosters anew when it is back."""

    def __init__(self) -> None:
        away = errors.unavailable()
        super().__init__(away.code, away.message, **away.details)


async def in_layer(call: Coroutine[Any, Any, None]) -> None:
    """Await a call of the channel layer; its failures become refusals."""
    try:
        await call
    except Exception as error:
        raise layer_refusal(error) from None


def layer_refusal(error: Exception) -> ProtocolError:
    match error:
        case ChannelGone():
            return errors.peer_not_found()
        case ChannelFull():
            return errors.peer_busy()
        case Undeliverable():
            return RostersRefresh()
    logger.warning("the channel layer is away: %r", error)
    return errors.unavailable()
