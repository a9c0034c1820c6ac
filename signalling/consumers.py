"""The socket: frames in, frames out. What an event does is in ``handlers``, what it looks like in
``protocol``; here is only what a connection adds to them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from channels.exceptions import ChannelFull

from rooms.exceptions import RoomError
from rooms.services import Joined

from . import database, metrics, protocol
from .auth.identify import client_address, identify_token
from .auth.tokens import Identity, subprotocols
from .conf import conf
from .peers import handlers
from .peers.messages import Relayed
from .peers.port import Membership
from .peers.replies import from_domain
from .peers.room_events import MemberConsumer, in_layer, layer_refusal
from .protocol import CloseCode, ErrorCode, FrameRefused, ProtocolError, Request, errors
from .throttling.sockets import SocketLimits
from .transport.send_queue import Overflow
from .worker import process
from .worker.gc import cycles

logger = logging.getLogger("signalling")

# Whoever is closed so has broken the rules: its seat is not kept.
FINAL_CLOSES = {CloseCode.PROTOCOL_VIOLATIONS, CloseCode.AUTHENTICATION, CloseCode.FLOOD}


class SignallingConsumer(MemberConsumer):
    """One socket of one peer; the ``peers.Peer`` of the handlers.

    Needs ``SignallingMiddlewareStack`` around it. Nothing raises out of it, and its membership ends with
    it, however it ends, unless its client may come back.
    """

    identity: Identity | None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.settings = conf()
        self.limits = SocketLimits(self.settings)
        self.frame_limits = self.settings.frame_limits
        self.outbound_frames = self.settings.outbound_frames
        self.outbound_bytes = self.settings.outbound_bytes
        self.identity = scope["identity"]
        self.address = client_address(scope)
        self.ended_by = "disconnected"
        self.presence = process.get_worker()
        self.presence.sockets.add(self)
        metrics.totals["sockets"] += 1
        cycles.socket_opened()
        try:
            await super().__call__(scope, receive, send)
        finally:
            metrics.totals["sockets"] -= 1
            cycles.socket_closed(metrics.totals["sockets"])
            self.presence.sockets.discard(self)

    async def listen(self) -> None:
        self._put_message: Callable[[str, Any], None] | None = None
        try:
            await super().listen()
            self._put_message = getattr(self.channel_layer, "put", None)
        except Exception as error:  # told once the socket is accepted
            logger.warning("no channel for %s: %r", self.address, error)
            self.scope["refusal"] = errors.unavailable(close=CloseCode.UNAVAILABLE)

    # --- Channels' events -------------------------------------------------------------------

    async def connect(self) -> None:
        offered = subprotocols(dict(self.scope["headers"]))
        chosen = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        await self.accept(subprotocol=chosen)
        refusal = self.scope["refusal"]
        if refusal is not None:
            self.refuse(refusal)
        elif self.presence.is_draining:
            self.close_for_drain()
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
        except Overflow:  # the answer found the send_queue full: no fault of ours
            raise
        except FrameRefused as refusal:
            self._request_id = refusal.request_id
            if self.identity is None and refusal.request_event != protocol.Authenticate.event:
                self.refuse(errors.authentication_required())
                return
            refusal.close = self.limits.violated() or refusal.close
            self._say_no(refusal, refusal.request_event)
        except ProtocolError as refusal:
            if request is None:  # over the rate: not decoded
                self._request_id = protocol.identify(frame)[0]
            self.refuse(refusal, request)
        except RoomError as refusal:
            self.refuse(from_domain(refusal), request)
        except database.DATABASE_UNAVAILABLE:
            logger.warning("the database is away", exc_info=True)
            self.refuse(errors.unavailable(), request)
        except Exception:
            self.refuse(self._internal(request.event.event if request else "frame"), request)
        finally:
            self._request_id = None

    async def handle(self, request: Request) -> None:
        """Run the handler of a request; what it does not answer itself is acknowledged."""
        event = request.event
        if self.identity is None and not isinstance(event, protocol.Authenticate):
            raise errors.authentication_required()
        if isinstance(event, protocol.WebrtcOffer):
            self.limits.check_offer()
        elif isinstance(event, protocol.RATE_LIMITED_EVENTS):
            self.limits.check_costly()
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

    # --- peers.Peer, but for what a member hears and asks of the stores ----------------------

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        assert self.membership is not None
        joined: Joined = await self._shield(_seat(self.membership, service, arguments))
        return joined

    async def worker(self) -> str:
        return await self.presence.enlisted()

    async def identify(self, token: str) -> Identity:
        # It came in time; checking it may take longer.
        self._timers.cancel(self._require_authentication)
        return await identify_token(token, self.address)

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
                raise layer_refusal(error) from None
        else:
            await in_layer(self.channel_layer.send(channel, message))

    def expect_heartbeat(self) -> None:
        """Who pings is held to it; a client that knows only the seed's events may stay silent."""
        if not self._timers.is_running(self._check_silence):
            self._timers.start(self.settings.heartbeat_timeout, self._check_silence)

    # --- Timers -------------------------------------------------------------------------------

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
        self.interrupt(errors.authentication_required())

    # --- The end --------------------------------------------------------------------------------

    def close_for_drain(self) -> None:
        """Have the client come back elsewhere: this process ends, or others take it for dead."""
        self._say(errors.unavailable(close=CloseCode.UNAVAILABLE))

    def lost(self) -> None:
        membership = self.membership
        if self._closed_with == CloseCode.TOO_SLOW and membership is not None:
            membership.has_gap = True  # what waited was dropped
        if membership is not None and self._comes_back(membership):
            self._go_away(membership)  # at once: what is sent from now on is held
        else:
            self._spawn(self.leave())

    async def clean_up(self) -> None:
        self.is_closing = True
        self._timers.cancel_all()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.leave()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def leave(self) -> None:
        if self._shielded is not None:  # a join that was cut off still commits: wait for it
            await asyncio.wait([self._shielded])
        membership = self.membership
        if membership is not None and self._comes_back(membership):
            self._go_away(membership)
            return
        try:
            await handlers.leave(self, reason=self.ended_by)
        except (ProtocolError, *database.DATABASE_UNAVAILABLE) as error:
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


async def _seat(
    membership: Membership, service: Callable[..., Joined], arguments: dict[str, Any]
) -> Joined:
    joined: Joined = await database.database_sync(service)(**arguments)
    membership.adopt(joined)
    return joined
