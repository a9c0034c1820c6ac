"""The socket: frames in, frames out. What an event does is in ``handlers``, what it looks like in
``protocol``; here is only what a connection adds to them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from sys import intern
from time import monotonic
from typing import Any

from channels.exceptions import ChannelFull

from rooms import services
from rooms.exceptions import RoomError

from . import database, handlers, metrics, protocol, refusals
from .conf import SignallingSettings, conf
from .direct import DirectConsumer
from .groups import Closed, Relayed, RosterChange, left, missed, room_group
from .layers import ChannelGone, Undeliverable
from .limits import SocketLimits
from .middleware import client_address, identify_token
from .outbox import Overflow
from .peers import Change, Membership, P, T
from .protocol import (
    CloseCode,
    ErrorCode,
    FrameRefused,
    ProtocolError,
    Request,
    RequestId,
    ServerEvent,
)
from .tokens import Identity, subprotocols

logger = logging.getLogger("signalling")


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
        self._request_id: RequestId | None = None
        self._held: list[dict[str, Any]] = []
        self._database_call: asyncio.Future[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        metrics.totals["sockets"] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            metrics.totals["sockets"] -= 1

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
        elif self.identity is None:
            self._after(self.settings.authentication_timeout, self._require_authentication)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Handle one frame; a binary one that holds UTF-8 JSON is read the same way."""
        if self.is_closing:
            return
        frame = text_data if text_data is not None else bytes_data or b""
        self._heard_at = monotonic()
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
            self._expect_heartbeat()
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
            self._hold(message)
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
            case "channel.lost":
                self._lost(membership, message["channel"])
            case "channel.missed":
                self._spawn(self._refresh())
            case unknown:
                raise ValueError(f"no handler for {unknown}")

    def _hold(self, message: dict[str, Any]) -> None:
        if len(self._held) >= self.settings.outbound_frames:
            raise Overflow
        self._held.append(message)

    def _relayed(self, membership: Membership, message: Relayed) -> None:
        """An offer, an answer or a candidate; not of one who is not, or no longer, here."""
        if membership.peer_id == message["target"] and message["sender"] in membership.roster:
            self.write(message["frame"])

    def _roster_changed(self, membership: Membership, message: RosterChange) -> None:
        """Another peer of the room joined, left or changed; what is known is not said twice."""
        peer_id = message["peer_id"]
        if membership.room_code != message["room"]:
            return
        is_known = peer_id in membership.roster
        match message["change"]:
            case "joined":
                # Who came before this peer is in its list, or left before it came: an echo of a
                # former membership in this room, which was still on its way.
                is_news = not is_known and message["number"] > membership.number
                if is_news:
                    membership.roster[intern(peer_id)] = intern(message["channel"])
            case "left":
                is_news = membership.roster.pop(peer_id, None) is not None
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
            self._roster_changed(membership, left(membership, peer_id, "removed"))
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
            if reached_at == channel:
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
        for change in missed(membership, present):
            self.deliver(dict(change))

    # --- peers.Peer ---------------------------------------------------------------------------

    async def answer(self, event: ServerEvent) -> None:
        request_id, self._request_id = self._request_id, None
        self.write(protocol.encode(event, request_id))

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = asyncio.ensure_future(database.in_database(function)(*args, **kwargs))
        self._database_call = call
        result: T = await asyncio.shield(call)
        return result

    async def identify(self, token: str) -> Identity:
        # It came in time; checking it may take longer.
        self._cancel_timer(self._require_authentication)
        return await identify_token(token, self.address)

    def seated(self) -> None:
        assert self.membership is not None
        self.membership.is_seated = True
        held, self._held = self._held, []
        for message in held:
            self.deliver(message)

    async def subscribe(self, room_code: str) -> None:
        await _layer(self.channel_layer.group_add(room_group(room_code), self.channel_name))

    async def unsubscribe(self, room_code: str) -> None:
        self._held.clear()
        await _layer(self.channel_layer.group_discard(room_group(room_code), self.channel_name))

    async def _unsubscribe(self, room_code: str) -> None:
        try:
            await self.unsubscribe(room_code)
        except ProtocolError:
            logger.warning(
                "a socket stays in the group of a closed room: its channel layer is away"
            )

    async def publish(self, membership: Membership, change: Change, event: ServerEvent) -> None:
        message = RosterChange(
            type="signalling.roster",
            room=membership.room_code,
            peer_id=membership.peer_id,
            channel=self.channel_name,
            change=change,
            number=membership.number,
            frame=protocol.encode(event),
        )
        group = room_group(membership.room_code)
        try:
            await _layer(self.channel_layer.group_send(group, message))
        except RostersRefresh:
            if change == "updated":
                raise
            logger.warning("some hear later that %s has %s", membership.peer_id, change)

    async def relay(self, target_peer_id: str, frame: str) -> None:
        assert self.membership is not None
        message = Relayed(
            type="signalling.relay",
            target=target_peer_id,
            sender=self.membership.peer_id,
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

    def _close(self, code: CloseCode) -> None:
        if not self.is_closing:
            self.is_closing = True
            metrics.closes[int(code)] += 1
            # No reason: Daphne drops it, and the event before says it.
            self.outbox.put({"type": "websocket.close", "code": int(code)})

    def overflowed(self) -> None:
        """Drop what waits, say why, leave the room now, and give the close frame a little time."""
        if self.is_closing:
            return
        self.is_closing = True
        metrics.totals["overflows"] += 1
        metrics.closes[int(CloseCode.TOO_SLOW)] += 1
        why = protocol.encode(protocol.error_event(refusals.too_slow()))
        self.outbox.put_last(
            {"type": "websocket.send", "text": why},
            {"type": "websocket.close", "code": int(CloseCode.TOO_SLOW)},
        )
        self._spawn(self._leave())
        self.abandon()

    def delivery_failed(self, message_type: str) -> None:
        self.interrupt(self._internal(message_type, close=CloseCode.INTERNAL))

    def _internal(self, doing: str, close: CloseCode | None = None) -> ProtocolError:
        reference = secrets.token_hex(6)
        logger.exception("internal error %s while handling %s", reference, doing)
        return refusals.internal(reference, close=close)

    # --- Timers -------------------------------------------------------------------------------

    def _expect_heartbeat(self) -> None:
        """Who pings is held to it; a client that knows only the seed's events may stay silent."""
        if "_check_silence" not in self._timers:
            self._after(self.settings.heartbeat_timeout, self._check_silence)

    def _check_silence(self) -> None:
        silence = monotonic() - self._heard_at
        if silence < self.settings.heartbeat_timeout:
            self._after(self.settings.heartbeat_timeout - silence, self._check_silence)
            return
        self.interrupt(
            ProtocolError(
                ErrorCode.UNAVAILABLE, "Nothing was heard of you.", close=CloseCode.HEARTBEAT
            )
        )

    def _require_authentication(self) -> None:
        self.interrupt(refusals.authentication_required())

    def _after(self, seconds: float, function: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._timers[function.__name__] = loop.call_later(seconds, self._on_time, function)

    def _on_time(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Overflow:
            self.overflowed()

    def _cancel_timer(self, function: Callable[[], None]) -> None:
        timer = self._timers.pop(function.__name__, None)
        if timer is not None:
            timer.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- The end --------------------------------------------------------------------------------

    async def clean_up(self) -> None:
        self.is_closing = True
        for timer in self._timers.values():
            timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._leave()

    async def _leave(self) -> None:
        if self._database_call is not None:  # a join that was cut off still commits: wait for it
            await asyncio.wait([self._database_call])
        try:
            await handlers.leave(self, reason=self.ended_by)
        except (ProtocolError, *database.AWAY) as error:
            logger.warning("not everybody learns that %s left: %r", self.address, error)
        except Exception:
            logger.exception("the leave of %s was not completed", self.address)


class RostersRefresh(ProtocolError):
    """The broker is away; all workers read their rosters anew when it is back."""

    def __init__(self) -> None:
        away = refusals.unavailable()
        super().__init__(away.code, away.message, **away.details)


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
