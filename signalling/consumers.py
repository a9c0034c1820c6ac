"""The consumer: one WebSocket of one peer, composed of the parts in ``signalling.peers``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from rooms.exceptions import NotInRoom
from rooms.logs import RareWarning, describe
from rooms.services import Joined

from . import metrics, protocol
from .auth import revocation, tokens
from .auth.identify import client_address, own_address
from .auth.identity import Identity
from .conf import conf
from .peers import handlers
from .peers.authentication import Authentication
from .peers.detached import leave_reason
from .peers.membership import Membership
from .peers.messages import Announcement, HeldState, RosterChange
from .peers.replies import Replies, internal_error
from .peers.resumption import Resumption
from .peers.room_events import RoomEvents
from .peers.stores import Stores
from .protocol import CloseCode, FrameRefused, ProtocolError, Request, errors
from .throttling.rates import get_rates
from .throttling.sockets import SocketLimits
from .transport.consumer import BoundedConsumer
from .transport.heartbeat import Heartbeat
from .transport.send_queue import Overflow
from .transport.tasks import spawn
from .transport.timers import Timers
from .worker.process import get_worker

_refused = RareWarning(
    logging.getLogger("signalling"), "Channel layer unavailable, refusing %s: %s"
)

P = ParamSpec("P")
T = TypeVar("T")


class SignallingConsumer(BoundedConsumer):
    """One WebSocket. Implements ``peers.port.Peer`` for the handlers.

    Requires ``SignallingMiddlewareStack``: ``identity``, ``refusal`` and ``place`` in the scope.
    Errors become ``error`` events. The membership ends with the socket or may be resumed.
    """

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        settings = self.settings = conf()
        self.outbound_frames = settings.outbound_frames
        self.outbound_bytes = settings.outbound_bytes
        self.stall_seconds = settings.stall_seconds
        self.limits = SocketLimits(settings, get_rates(), own_address(scope))
        self.frame_limits = settings.frame_limits
        self.identity: Identity | None = scope["identity"]
        self.address = client_address(scope)
        self.has_hung_up = False
        self.worker = get_worker()
        with self.worker.serving(self):
            await super().__call__(scope, receive, send)

    def prepare(self) -> None:
        settings = self.settings
        self.tasks: set[asyncio.Task[None]] = set()
        self.timers = Timers(self._run_timer)
        self.heartbeat = Heartbeat(self.timers, settings.heartbeat_timeout, self._on_silence)
        self.stores = Stores(self.subscription, self.worker.pending)
        self.replies = Replies(self.send_queue, on_close=self._on_close, abandon=self.abandon)
        self.resumption = Resumption(
            settings,
            worker=self.worker,
            stores=self.stores,
            replies=self.replies,
            send_queue=self.send_queue,
            heartbeat=self.heartbeat,
            timers=self.timers,
            subscription=self.subscription,
            release_subscription=self.release_subscription,
        )
        self.room = RoomEvents(
            settings,
            worker=self.worker,
            stores=self.stores,
            replies=self.replies,
            resumption=self.resumption,
            tasks=self.tasks,
        )
        self.authentication = Authentication(settings, self.timers, self.replies, self)

    async def listen(self) -> None:
        try:
            await super().listen()
        except Exception as error:
            _refused.log(self.address, describe(error))
            self.scope["refusal"] = errors.unavailable(close=CloseCode.UNAVAILABLE)

    # --- Channels' events -------------------------------------------------------------------

    async def connect(self) -> None:
        offered = tokens.subprotocols(self.scope["headers"])
        await self.accept(protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None)
        if (refusal := self.scope["refusal"]) is not None:
            self.replies.reply_error(refusal)
        elif self.worker.is_draining:
            self.close_for_drain()
        else:
            self.authentication.begin()

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Handle one frame. A binary frame of UTF-8 JSON is handled like a text frame."""
        now, heartbeat = monotonic(), self.heartbeat
        if now > (alive_until := self.worker.suspensions.alive_until) or heartbeat.may_have_waited:
            heartbeat.begin(now, alive_until)
            if now > alive_until:
                await self.worker.suspensions.check()
        heartbeat.last_frame_at = now
        if (replies := self.replies).is_closing:
            return
        frame = text_data if text_data is not None else bytes_data or b""
        limits = self.settings.early_frame_limits if self.identity is None else self.frame_limits
        request: Request | None = None
        try:
            self.limits.check_frame(min(len(frame), limits.frame), now)
            request = protocol.decode(frame, limits)
            replies.request_id = request.id
            await self.handle(request)
        except Overflow:  # handled by BoundedConsumer
            raise
        except FrameRefused as refusal:
            self._refuse_frame(refusal)
        except Exception as error:
            replies.refuse(error, frame, request, self.frame_limits.frame)
        finally:
            replies.request_id = None
            heartbeat.end()

    async def handle(self, request: Request) -> None:
        """Run the handler of a request; acknowledge it unless the handler has answered."""
        event = request.event
        self.limits.check_event(event, self)
        if isinstance(event, protocol.Ping):  # a client that pings must keep pinging
            self.heartbeat.expect()
        metrics.requests[type(event)] += 1
        await handlers.HANDLERS[type(event)](self, event)
        if self.replies.request_id is not None:
            self.replies.answer(protocol.Ack())

    async def disconnect(self, code: int) -> None:
        self.has_hung_up = code in (1000, 1001)

    def deliver(self, message: dict[str, Any]) -> None:
        self.room.deliver(message)

    def delivery_failed(self, message_type: str) -> None:
        self.replies.push_error(internal_error(message_type, close=CloseCode.INTERNAL))

    def overflowed(self) -> None:
        self.replies.close_too_slow()

    def _refuse_frame(self, refusal: FrameRefused) -> None:
        """Answer a frame that is not a valid request."""
        self.replies.request_id = refusal.request_id
        event = refusal.request_event
        if self.identity is None and event != protocol.Authenticate.event and refusal.was_read:
            self.replies.reply_error(errors.authentication_required())
            return
        refusal.close = self.limits.violated() or refusal.close
        self.replies.reply_error(refusal, event)

    # --- peers.port.Peer ----------------------------------------------------------------------

    @property
    def membership(self) -> Membership | None:
        return self.room.membership

    @membership.setter
    def membership(self, membership: Membership | None) -> None:
        self.room.membership = membership

    async def answer(self, event: protocol.ServerEvent) -> None:
        self.replies.answer(event)

    async def identify(self, token: str) -> Identity:
        identity = await self.authentication.identify(token, own_address(self.scope))
        self.scope["place"].take(identity.user.pk)
        return identity

    async def register_worker(self) -> str:
        return await self.worker.register()

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        if self.membership is None or self.identity is None:  # closed in the meantime
            raise NotInRoom
        stores, adopt, identity = self.stores, self.membership.adopt, self.identity
        with self.limits.joining(self):
            return await stores.seat(adopt, identity, service, address=self.address, **arguments)

    async def act(self, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        assert self.identity is not None
        perform: Any = revocation.perform
        return await self.stores.database(perform, self.identity, service, *args, **kwargs)

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.stores.database(function, *args, **kwargs)

    async def record(self, *args: Any, **kwargs: Any) -> bool:
        return await self.stores.record(*args, **kwargs)

    async def subscribe(self, room_code: str) -> None:
        await self.stores.subscribe(room_code)

    async def unsubscribe(self, room_code: str) -> None:
        await self.room.unsubscribe(room_code)

    async def publish(self, message: RosterChange | Announcement) -> None:
        await self.stores.publish(message)

    def relay(self, target_peer_id: str, frame: str) -> Awaitable[None]:
        assert self.membership is not None
        has_id = self.replies.request_id is not None
        return self.room.relays.send(self.membership, target_peer_id, frame, wait=has_id)

    async def take_over(self, channel: str) -> None:
        assert self.membership is not None
        await self.resumption.take_over(self.membership, channel)

    def restore(self, held: HeldState) -> None:
        assert self.membership is not None
        self.resumption.restore(self.membership, held)

    def expect_heartbeat(self) -> None:
        self.heartbeat.expect()

    def seated(self) -> None:
        self.room.seated()
        self.authentication.check_expiry()

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        self.room.follow_mode(claim)

    # --- Closing ------------------------------------------------------------------------------

    @property
    def room_code(self) -> str | None:
        return self.membership.room_code if self.membership is not None else None

    def revoke(self, error: ProtocolError) -> None:
        self.replies.push_error(error)

    def close_for_drain(self) -> None:
        """Close with 4503: the process stops, or other workers consider it dead."""
        self.replies.push_error(errors.unavailable(close=CloseCode.UNAVAILABLE))

    async def clean_up(self) -> None:
        self.replies.stop()
        self.timers.cancel_all()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self.leave()
        if self.tasks:  # `leave` may have started a task that announces a detached peer
            await asyncio.wait(self.tasks)

    async def leave(self) -> None:
        """End the membership, or detach a peer that may resume."""
        await self.stores.settled()
        if self._detach_if_resumable():
            return
        reason = "left" if self.has_hung_up else leave_reason(self.replies.closed_with)
        await handlers.leave_quietly(self, reason=reason)

    def _on_close(self) -> None:
        if self.replies.closed_with == CloseCode.TOO_SLOW and (membership := self.membership):
            membership.has_gap = True  # the queued frames were dropped
        if not self._detach_if_resumable():  # at once, so that relays sent from now on are held
            spawn(self.leave(), self.tasks)

    def _detach_if_resumable(self) -> bool:
        """Detach the peer if its client may resume; return whether it may."""
        membership = self.membership
        if membership is None or not self.resumption.is_possible(membership, self.has_hung_up):
            return False
        self.room.detach(membership, is_abandoned=self.is_abandoned)
        return True

    def _run_timer(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Overflow:
            self.replies.close_too_slow()

    def _on_silence(self) -> None:
        self.replies.send_error(errors.heartbeat_timeout())
