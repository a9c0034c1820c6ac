"""The socket: frames in, frames out. What an event does is in ``handlers``, what it looks like in
``protocol``; here is only what a connection adds to them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from sys import intern
from time import monotonic
from typing import Any

from channels.exceptions import ChannelFull
from django.utils import timezone

from rooms import resuming, services
from rooms.exceptions import RoomError
from rooms.services import Joined

from . import database, groups, handlers, metrics, presence, protocol, refusals
from .away import AwayPeer, InOrder
from .conf import SignallingSettings, conf
from .direct import DirectConsumer
from .groups import Closed, Handover, HeldFrame, Relayed, RosterChange, Takeover
from .layers import ChannelGone, Undeliverable
from .limits import SocketLimits
from .middleware import client_address, identify_token
from .outbox import Overflow
from .peers import Membership, P, T
from .protocol import (
    CloseCode,
    ErrorCode,
    FrameRefused,
    ProtocolError,
    Request,
    RequestId,
    ServerEvent,
)
from .timers import Timers
from .tokens import Identity, subprotocols

logger = logging.getLogger("signalling")

TAKEOVER_SECONDS = 2.0  # for where the peer was reached to answer
ROUND_TRIP_SECONDS = 1.0
SPARE_SECONDS = 10.0  # for the end of a window to be written and heard of
FINAL_CLOSES = {CloseCode.PROTOCOL_VIOLATIONS, CloseCode.AUTHENTICATION, CloseCode.FLOOD}


class SignallingConsumer(DirectConsumer):
    """One socket of one peer; the ``peers.Peer`` of the handlers.

    Needs ``SignallingMiddlewareStack`` around it. Nothing raises out of it, and its membership ends with
    it, however it ends.
    """

    identity: Identity | None
    membership: Membership | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.settings: SignallingSettings = conf()
        self.limits = SocketLimits(self.settings)
        self.frame_limits = self.settings.frame_limits
        self.outbound_frames = self.settings.outbound_frames
        self.outbound_bytes = self.settings.outbound_bytes
        self.identity = scope["identity"]
        self.address = client_address(scope)
        self.ended_by = "disconnected"
        self.is_closing = False
        self._closed_with: CloseCode | None = None
        self._heard_at = monotonic()
        self._request_id: RequestId | None = None
        self._held: list[dict[str, Any]] = []
        self._kept: list[HeldFrame] = []
        self._handover: asyncio.Future[Handover] | None = None
        self._in_order: InOrder | None = None
        self._relayed_at = 0.0
        self._shielded: asyncio.Future[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers = Timers(self._on_time)
        self.presence = presence.here()
        self.presence.sockets.add(self)
        metrics.totals["sockets"] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            metrics.totals["sockets"] -= 1
            self.presence.sockets.discard(self)

    async def listen(self) -> None:
        self._put_message: Callable[[str, Any], None] | None = None
        try:
            await super().listen()
            self._put_message = getattr(self.channel_layer, "put", None)
        except Exception as error:  # told once the socket is accepted
            logger.warning("no channel for %s: %r", self.address, error)
            self.scope["refusal"] = refusals.unavailable(close=CloseCode.UNAVAILABLE)

    # --- Channels' events -------------------------------------------------------------------

    async def connect(self) -> None:
        offered = subprotocols(dict(self.scope["headers"]))
        chosen = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        await self.accept(subprotocol=chosen)
        refusal = self.scope["refusal"]
        if refusal is not None:
            self.refuse(refusal)
        elif self.presence.is_draining:
            self.send_away()
        elif self.identity is None:
            self._timers.start(self.settings.authentication_timeout, self._require_authentication)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Handle one frame; a binary one that holds UTF-8 JSON is read the same way."""
        if self.is_closing:
            return
        frame = text_data if text_data is not None else bytes_data or b""
        self._heard_at = monotonic()
        if self._heard_at > self.presence.alive_until:
            self.presence.fence()
            return
        request: Request | None = None
        try:
            self.limits.check_frame(len(frame), self._heard_at)
            request = protocol.decode(frame, self.frame_limits)
            self._request_id = request.id
            await self.handle(request)
        except Overflow:  # the answer found the outbox full: no fault of ours
            raise
        except FrameRefused as refusal:
            self._request_id = refusal.request_id
            if self.identity is None and refusal.request_event != protocol.Authenticate.event:
                self.refuse(refusals.authentication_required())
                return
            refusal.close = self.limits.violated() or refusal.close
            self._say_no(refusal, refusal.request_event)
        except ProtocolError as refusal:
            if request is None:  # over the rate: not decoded
                self._request_id = protocol.identify(frame)[0]
            self.refuse(refusal, request)
        except RoomError as refusal:
            self.refuse(refusals.from_domain(refusal), request)
        except database.AWAY:
            logger.warning("the database is away", exc_info=True)
            self.refuse(refusals.unavailable(), request)
        except Exception:
            self.refuse(self._internal(request.event.event if request else "frame"), request)
        finally:
            self._request_id = None

    async def handle(self, request: Request) -> None:
        """Run the handler of a request; what it does not answer itself is acknowledged."""
        event = request.event
        if self.identity is None and not isinstance(event, protocol.Authenticate):
            raise refusals.authentication_required()
        if isinstance(event, protocol.WebrtcOffer):
            self.limits.check_offer()
        elif isinstance(event, protocol.Ping):
            self.expect_heartbeat()
        metrics.requests[type(event)] += 1
        await handlers.HANDLERS[type(event)](self, event)
        if self._request_id is not None:
            await self.answer(protocol.Ack())

    async def disconnect(self, code: int) -> None:
        """Remember how it ended; ``clean_up`` is where every way out passes."""
        if code in (1000, 1001):
            self.ended_by = "left"

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
            if message["change"] == "back" and channel != self.channel_name:
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
                is_news = is_known and membership.roster[peer_id] != channel
                if is_news:
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
            removed = groups.left(membership.room_code, peer_id, "removed")
            self._roster_changed(membership, removed)
            return
        self._forget(membership)
        self.interrupt(refusals.removed())

    def _forget(self, membership: Membership) -> None:
        self.membership = None
        self._spawn(self._unsubscribe(membership.room_code))

    def _lost(self, membership: Membership, channel: str) -> None:
        """What was acknowledged to this peer did not arrive after all."""
        metrics.totals["undelivered"] += 1
        for peer_id, reached_at in membership.roster.items():
            if channel in (reached_at, membership.former.get(peer_id)):
                lost = refusals.unavailable(retry_after=1)
                lost.details["target_peer_id"] = peer_id
                self.interrupt(lost)

    async def _refresh(self) -> None:
        """Announcements may have been lost: the database knows who is here."""
        membership = self.membership
        if membership is None:
            return
        try:
            present = await self.database(services.present, membership.room_code)
        except database.AWAY:
            logger.warning("cannot refresh a roster: the database is away")
            return
        for change in groups.missed(membership, present):
            self.deliver(dict(change))

    # --- Away and back ------------------------------------------------------------------------

    def send_away(self) -> None:
        """Have the client come back elsewhere: this process ends, or others take it for dead."""
        self._say(refusals.unavailable(close=CloseCode.UNAVAILABLE))
        if self.membership is not None:
            self._spawn(self._leave())

    def _taken_over(self, membership: Membership, message: dict[str, Any]) -> None:
        """Another socket has resumed this membership: hand over, and close."""
        if message["peer_id"] == membership.peer_id:
            self._stand_in(membership).deliver(message)
            self._say(refusals.resumed_elsewhere())

    def _resumed_elsewhere(self, membership: Membership) -> None:
        """The same, where the other one could not reach this socket."""
        self._forget(membership)
        self._say(refusals.resumed_elsewhere())

    def _stand_in(self, membership: Membership) -> AwayPeer:
        """Put an ``AwayPeer`` in the place of this socket, from this moment on."""
        assert self.ear is not None
        if self._in_order is not None:
            self._in_order.end()
        away = AwayPeer(
            self.ear,
            membership,
            frames=self._kept,
            max_frames=self.settings.held_frames,
            max_bytes=self.settings.held_bytes,
            lifetime=self.settings.resume_window + SPARE_SECONDS,
            ended=self.presence.away.discard,
        )
        self.presence.away.add(away)
        self.ear = self.membership = None
        for message in self._held:  # nobody is told: what is too much is a gap
            try:
                away.deliver(message)
            except ChannelFull:
                membership.has_gap = True
        return away

    def _go_away(self, membership: Membership) -> None:
        """Keep the seat, for the client comes back."""
        membership.has_gap |= self._has_lost_something(membership)
        away = self._stand_in(membership)
        self._spawn(self._tell_away(away))

    def _has_lost_something(self, membership: Membership) -> bool:
        """Tell whether a relay may have been written to a connection that was dead already.

        What is written before a close frame of ours arrives; of an end that came by surprise, nothing
        says when it was. A frame of the client proves that it lived, but for a round trip.
        """
        if self.outbox.waiting or self._is_abandoned:
            return True
        return self._closed_with is None and self._relayed_at > self._heard_at - ROUND_TRIP_SECONDS

    async def _tell_away(self, away: AwayPeer) -> None:
        membership = away.membership
        until = timezone.now() + timedelta(seconds=self.settings.resume_window)
        counted = await self.record(
            resuming.put_away,
            membership.peer_id,
            epoch=membership.epoch,
            until=until,
            gap=membership.has_gap,
        )
        if counted:
            await self.publish(
                groups.away(membership.room_code, membership.peer_id, away.ear.name, until)
            )

    # --- peers.Peer ---------------------------------------------------------------------------

    async def answer(self, event: ServerEvent) -> None:
        request_id, self._request_id = self._request_id, None
        self.write(protocol.encode(event, request_id))

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._shield(database.in_database(function)(*args, **kwargs))

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        assert self.membership is not None
        joined: Joined = await self._shield(_seat(self.membership, service, arguments))
        return joined

    async def _shield(self, work: Coroutine[Any, Any, T]) -> T:
        call = self._shielded = asyncio.ensure_future(work)
        return await asyncio.shield(call)

    async def record(self, function: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            return await self.database(function, *args, **kwargs)
        except database.AWAY as error:
            logger.warning("the database is away, and is told later: %s", error)
            write = partial(database.in_database(function), *args, **kwargs)
            self.presence.remember(write)
            return True

    async def worker(self) -> str:
        return await self.presence.enlisted()

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
        self._in_order = InOrder(membership.heard, self.write)

    async def identify(self, token: str) -> Identity:
        # It came in time; checking it may take longer.
        self._timers.cancel(self._require_authentication)
        return await identify_token(token, self.address)

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
            self._timers.start(presence.SETTLE_SECONDS, self._settle)

    async def subscribe(self, room_code: str) -> None:
        await _layer(self.channel_layer.group_add(groups.room_group(room_code), self.channel_name))

    async def unsubscribe(self, room_code: str) -> None:
        self._held.clear()
        await _layer(
            self.channel_layer.group_discard(groups.room_group(room_code), self.channel_name)
        )

    async def _unsubscribe(self, room_code: str) -> None:
        try:
            await self.unsubscribe(room_code)
        except ProtocolError:
            logger.warning(
                "a socket stays in the group of a closed room: its channel layer is away"
            )

    async def publish(self, change: RosterChange) -> None:
        group = groups.room_group(change["room"])
        try:
            await _layer(self.channel_layer.group_send(group, change))
        except RostersRefresh:
            if change["change"] == "updated":
                raise
            logger.warning("some hear later: %s %s", change["peer_id"], change["change"])

    async def relay(self, target_peer_id: str, frame: str) -> None:
        assert self.membership is not None
        sent = self.membership.sent
        number = sent[target_peer_id] = sent.get(target_peer_id, 0) + 1
        message = Relayed(
            type="signalling.relay",
            target=target_peer_id,
            sender=self.membership.peer_id,
            number=number,
            reply_channel=self.channel_name,
            frame=frame,
        )
        channel = self.membership.roster[target_peer_id]
        # Who wants an answer waits until the message has left; the others go on, and hear of a loss.
        if self._request_id is None and self._put_message is not None:
            try:
                self._put_message(channel, message)
            except ChannelFull as error:
                raise _refusal(error) from None
        else:
            await _layer(self.channel_layer.send(channel, message))

    # --- Saying something, and no -------------------------------------------------------------

    def write(self, frame: str) -> None:
        """Send a frame, or queue it; a client that does not keep up loses its socket."""
        if not self.is_closing:
            self.outbox.put({"type": "websocket.send", "text": frame})

    def refuse(self, error: ProtocolError, request: Request | None = None) -> None:
        """Answer with an ``error`` event, and close the socket where the refusal costs it."""
        self._say_no(error, request.event.event if request else None)

    def interrupt(self, error: ProtocolError) -> None:
        """Say an ``error`` that answers nothing: a request that is being handled keeps its ``id``."""
        self._write_error(error, None, None)

    def _say_no(self, error: ProtocolError, request_event: str | None) -> None:
        request_id, self._request_id = self._request_id, None
        self._write_error(error, request_event, request_id)

    def _write_error(
        self, error: ProtocolError, request_event: str | None, request_id: RequestId | None
    ) -> None:
        metrics.errors[str(error.code)] += 1
        self.write(protocol.encode(protocol.error_event(error, request_event), request_id))
        if error.close is not None:
            self._close(error.close)

    def _say(self, error: ProtocolError) -> None:
        """``interrupt`` from elsewhere than this socket's own turn."""
        try:
            self.interrupt(error)
        except Overflow:
            self.overflowed()

    def _close(self, code: CloseCode) -> None:
        if not self.is_closing:
            self.is_closing = True
            self._closed_with = code
            metrics.closes[int(code)] += 1
            # No reason: Daphne drops it, and the event before says it.
            self.outbox.put({"type": "websocket.close", "code": int(code)})
            if self.membership is not None and self._comes_back(self.membership):
                self._go_away(self.membership)

    def overflowed(self) -> None:
        """Drop what waits, say why, leave the room now, and give the close frame a little time."""
        if self.is_closing:
            return
        self.is_closing = True
        self._closed_with = CloseCode.TOO_SLOW
        metrics.totals["overflows"] += 1
        metrics.closes[int(CloseCode.TOO_SLOW)] += 1
        why = protocol.encode(protocol.error_event(refusals.too_slow()))
        self.outbox.put_last(
            {"type": "websocket.send", "text": why},
            {"type": "websocket.close", "code": int(CloseCode.TOO_SLOW)},
        )
        if self.membership is not None:
            self.membership.has_gap = True
        self._spawn(self._leave())
        self.abandon()

    def delivery_failed(self, message_type: str) -> None:
        self.interrupt(self._internal(message_type, close=CloseCode.INTERNAL))

    def _internal(self, doing: str, close: CloseCode | None = None) -> ProtocolError:
        reference = secrets.token_hex(6)
        logger.exception("internal error %s while handling %s", reference, doing)
        return refusals.internal(reference, close=close)

    # --- Timers -------------------------------------------------------------------------------

    def expect_heartbeat(self) -> None:
        """Who pings is held to it; a client that knows only the seed's events may stay silent."""
        if not self._timers.is_running(self._check_silence):
            self._timers.start(self.settings.heartbeat_timeout, self._check_silence)

    def _check_silence(self) -> None:
        silence = monotonic() - self._heard_at
        if silence < self.settings.heartbeat_timeout:
            self._timers.start(self.settings.heartbeat_timeout - silence, self._check_silence)
            return
        self.interrupt(
            ProtocolError(
                ErrorCode.UNAVAILABLE, "Nothing was heard of you.", close=CloseCode.HEARTBEAT
            )
        )

    def _require_authentication(self) -> None:
        self.interrupt(refusals.authentication_required())

    def _settle(self) -> None:
        """Whoever relays to this peer knows by now where it is."""
        if self._in_order is not None:
            self._in_order.end()
            self._in_order = None

    def _on_time(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Overflow:
            self.overflowed()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- The end --------------------------------------------------------------------------------

    async def clean_up(self) -> None:
        self.is_closing = True
        self._timers.cancel_all()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._leave()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _leave(self) -> None:
        if self._shielded is not None:  # a join that was cut off still commits: wait for it
            await asyncio.wait([self._shielded])
        membership = self.membership
        if membership is not None and self._comes_back(membership):
            self._go_away(membership)
            return
        try:
            await handlers.leave(self, reason=self.ended_by)
        except (ProtocolError, *database.AWAY) as error:
            logger.warning("not everybody learns that %s left: %r", self.address, error)
        except Exception:
            logger.exception("the leave of %s was not completed", self.address)

    def _comes_back(self, membership: Membership) -> bool:
        """Tell whether the client may resume: one that got a token, and did not end it on purpose."""
        has_token = membership.is_seated or membership.epoch > 0
        ended = self._closed_with is None and self.ended_by == "left"
        return (
            membership.is_resumable
            and has_token
            and not ended
            and self._closed_with not in FINAL_CLOSES
        )


class RostersRefresh(ProtocolError):
    """The broker is away; all workers read their rosters anew when it is back."""

    def __init__(self) -> None:
        away = refusals.unavailable()
        super().__init__(away.code, away.message, **away.details)


async def _seat(
    membership: Membership, service: Callable[..., Joined], arguments: dict[str, Any]
) -> Joined:
    joined: Joined = await database.in_database(service)(**arguments)
    membership.adopt(joined)
    return joined


async def _layer(call: Coroutine[Any, Any, None]) -> None:
    """Await a call of the channel layer; its failures become refusals."""
    try:
        await call
    except Exception as error:
        raise _refusal(error) from None


def _refusal(error: Exception) -> ProtocolError:
    match error:
        case ChannelGone():
            return refusals.peer_not_found()
        case ChannelFull():
            return refusals.peer_busy()
        case Undeliverable():
            return RostersRefresh()
    logger.warning("the channel layer is away: %r", error)
    return refusals.unavailable()
