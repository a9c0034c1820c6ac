"""The socket: frames in, frames out. What an event does is in ``handlers``, what it looks like in
``protocol``; here is only what a connection adds to them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull, StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db import DatabaseError

from rooms.exceptions import RoomError

from . import handlers, protocol
from .conf import SignallingSettings, conf
from .groups import Closed, Relayed, RosterChange, room_group
from .middleware import client_address, identify_token, unavailable
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
from .throttling import TokenBucket
from .tokens import Identity, subprotocols

logger = logging.getLogger("signalling")


class SignallingConsumer(AsyncJsonWebsocketConsumer):
    """One socket of one peer; the ``peers.Peer`` of the handlers.

    Needs ``SignallingMiddlewareStack`` around it. Channels gives it one message at a time, from the
    client and from the channel layer alike, so nothing here runs beside itself but the two timers.
    Nothing raises out of it: Channels would then skip ``disconnect`` and leave a ghost in the room.
    """

    identity: Identity | None
    membership: Membership | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.settings: SignallingSettings = conf()
        self.identity = scope["identity"]
        self.address = client_address(scope)
        self.ended_by = "disconnected"
        self.is_accepted = self.is_closing = False
        self._request_id: RequestId | None = None
        self._database_call: asyncio.Future[Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._set_limits()
        try:
            await super().__call__(scope, receive, send)
        except Exception:  # a channel layer that is away, for one
            logger.exception("the connection of %s ends: its channel layer failed", self.address)
            if not self.is_accepted:  # a client cannot read why a handshake was refused
                self.base_send = send
                await self.accept()
            await self.refuse(unavailable())
        finally:
            await self._clean_up()

    # --- Channels' events -------------------------------------------------------------------

    async def dispatch(self, message: dict[str, Any]) -> None:
        try:
            await super().dispatch(message)
        except StopConsumer:
            raise
        except Exception:
            reference = self._log_internal_error(str(message.get("type")))
            await self.refuse(_internal(reference, close=CloseCode.INTERNAL))

    async def connect(self) -> None:
        offered = subprotocols(dict(self.scope["headers"]))
        chosen = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        await self.accept(subprotocol=chosen)
        self.is_accepted = True
        if self.scope["refusal"] is not None:
            await self.refuse(self.scope["refusal"])
        elif self.identity is None:
            self._after(self.settings.authentication_timeout, self._require_authentication)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Handle one frame; a binary one that holds UTF-8 JSON is read the same way."""
        if self.is_closing:
            return
        frame = text_data if text_data is not None else bytes_data or b""
        self._heard_at = asyncio.get_running_loop().time()
        request: Request | None = None
        try:
            self._check_rate(frame)
            request = protocol.decode(frame, self.settings.frame_limits)
            self._request_id = request.id
            await self.handle(request)
        except FrameRefused as refusal:
            await self._refuse_frame(refusal)
        except ProtocolError as refusal:
            await self.refuse(refusal, request)
        except RoomError as refusal:
            await self.refuse(_from_domain(refusal), request)
        except DatabaseError:
            logger.exception("the database is away")
            await self.refuse(unavailable(), request, close=False)
        except Exception:
            reference = self._log_internal_error(request.event.event if request else "frame")
            await self.refuse(_internal(reference), request)
        finally:
            self._request_id = None

    async def handle(self, request: Request) -> None:
        """Run the handler of a request; what it does not answer itself is acknowledged."""
        event = request.event
        if self.identity is None and not isinstance(event, protocol.Authenticate):
            raise _authentication_required()
        if isinstance(event, protocol.WebrtcOffer):
            _limit(self._offers.take(), "Too many offers")
        if isinstance(event, protocol.Ping):
            self._expect_heartbeat()
        await handlers.HANDLERS[type(event)](self, event)
        if self._request_id is not None:
            await self.answer(protocol.Ack())

    # --- The channel layer's messages ---------------------------------------------------------

    async def signalling_relay(self, message: Relayed) -> None:
        """An offer, an answer or a candidate for this peer; not of one who is not, or no longer, here."""
        membership = self.membership
        if membership is None or membership.peer_id != message["target"]:
            return
        if message["sender"] in membership.roster:
            await self.send(text_data=message["frame"])

    async def signalling_roster(self, message: RosterChange) -> None:
        """Another peer of the room joined, left or changed; what is known is not said twice."""
        membership, peer_id = self.membership, message["peer_id"]
        if membership is None or membership.room_code != message["room"]:
            return
        is_known = peer_id in membership.roster
        match message["change"]:
            case "joined":
                # Who came before this peer is in its list, or left before it came: an echo of a
                # former membership in this room, which was still on its way.
                is_news = not is_known and message["number"] > membership.number
                if is_news:
                    membership.roster[peer_id] = message["channel"]
            case "left":
                is_news = membership.roster.pop(peer_id, None) is not None
            case _:
                is_news = is_known
        if is_news:
            await self.send(text_data=message["frame"])

    async def signalling_closed(self, message: Closed) -> None:
        """The room was closed; its rows are closed already."""
        membership, self.membership = self.membership, None
        if membership is None or membership.room_code != message["room"]:
            self.membership = membership
            return
        await self.unsubscribe(membership.room_code)
        await self.send(text_data=protocol.encode(protocol.RoomClosed(reason=message["reason"])))
        await self.close(CloseCode.ROOM_CLOSED)

    # --- peers.Peer ---------------------------------------------------------------------------

    async def answer(self, event: ServerEvent) -> None:
        request_id, self._request_id = self._request_id, None
        await self.send(text_data=protocol.encode(event, request_id))

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        call = asyncio.ensure_future(database_sync_to_async(function)(*args, **kwargs))
        self._database_call = call
        result: T = await asyncio.shield(call)
        return result

    async def identify(self, token: str) -> Identity:
        identity = await identify_token(token, self.address)
        self._cancel_timer(self._require_authentication)
        return identity

    async def subscribe(self, room_code: str) -> None:
        await _layer(self.channel_layer.group_add(room_group(room_code), self.channel_name))

    async def unsubscribe(self, room_code: str) -> None:
        await _layer(self.channel_layer.group_discard(room_group(room_code), self.channel_name))

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
        await _layer(self.channel_layer.group_send(room_group(membership.room_code), message))

    async def relay(self, target_peer_id: str, frame: str) -> None:
        assert self.membership is not None
        message = Relayed(
            type="signalling.relay",
            target=target_peer_id,
            sender=self.membership.peer_id,
            frame=frame,
        )
        await _layer(self.channel_layer.send(self.membership.roster[target_peer_id], message))

    # --- Saying no ----------------------------------------------------------------------------

    async def refuse(
        self, error: ProtocolError, request: Request | None = None, *, close: bool = True
    ) -> None:
        """Answer with an ``error`` event, and close the socket where the refusal costs it."""
        name = request.event.event if request else None
        await self._say(protocol.error_event(error, name), error.close if close else None)

    async def _refuse_frame(self, refusal: FrameRefused) -> None:
        self._request_id = refusal.request_id
        costs_socket = refusal.close
        if self._violations.take():
            costs_socket = CloseCode.PROTOCOL_VIOLATIONS
        await self._say(protocol.error_event(refusal, refusal.request_event), costs_socket)

    async def _say(self, event: protocol.Error, close: CloseCode | None) -> None:
        if self.is_closing:
            return
        await self.answer(event)
        if close is not None:
            await self.close(close)

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        self.is_closing = True
        try:
            await super().close(
                code and int(code)
            )  # no reason: Daphne drops it, the error event says it
        except OSError:
            logger.debug("%s was gone before it was closed", self.address)

    async def send(
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool = False
    ) -> None:
        if self.is_closing:
            return
        try:
            await super().send(text_data=text_data, bytes_data=bytes_data, close=close)
        except OSError:  # as ASGI wants it of a send after the disconnect, which is on its way here
            logger.debug("%s was gone before a frame could be sent", self.address)

    def _log_internal_error(self, doing: str) -> str:
        reference = secrets.token_hex(6)
        logger.exception("internal error %s while handling %s", reference, doing)
        return reference

    # --- Limits and timers ----------------------------------------------------------------------

    def _set_limits(self) -> None:
        rate = self.settings.frame_rate
        self._frames = TokenBucket(rate, self.settings.frame_burst)
        self._flood = TokenBucket(rate / 10, self.settings.flood_frames)
        self._offers = TokenBucket(self.settings.offer_rate, self.settings.offer_rate)
        self._violations = TokenBucket(1, self.settings.violations)

    def _check_rate(self, frame: str | bytes) -> None:
        wait = self._frames.take()
        if wait:
            self._request_id = protocol.identify(frame)[0]
            is_flood = bool(self._flood.take())
            _limit(wait, "Too many frames", close=CloseCode.FLOOD if is_flood else None)

    def _expect_heartbeat(self) -> None:
        """Who pings is held to it; a client that knows only the seed's events may stay silent."""
        if "_check_silence" not in self._timers:
            self._after(self.settings.heartbeat_timeout, self._check_silence)

    async def _check_silence(self) -> None:
        silence = asyncio.get_running_loop().time() - self._heard_at
        if silence < self.settings.heartbeat_timeout:
            self._after(self.settings.heartbeat_timeout - silence, self._check_silence)
            return
        await self.refuse(
            ProtocolError(
                ErrorCode.UNAVAILABLE, "Nothing was heard of you.", close=CloseCode.HEARTBEAT
            )
        )

    async def _require_authentication(self) -> None:
        await self.refuse(_authentication_required())

    def _after(self, seconds: float, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        def start() -> None:
            task = asyncio.create_task(function())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop = asyncio.get_running_loop()
        self._timers[function.__name__] = loop.call_later(seconds, start)

    def _cancel_timer(self, function: Callable[[], Any]) -> None:
        timer = self._timers.pop(function.__name__, None)
        if timer is not None:
            timer.cancel()

    # --- The end --------------------------------------------------------------------------------

    async def disconnect(self, code: int) -> None:
        """Remember how it ended; the clean-up is in ``__call__``, where every way out passes."""
        if code in (1000, 1001):
            self.ended_by = "left"

    async def _clean_up(self) -> None:
        """Leave nothing behind. Shielded: a server that stops cancels this very task."""
        self.is_closing = True
        for timer in self._timers.values():
            timer.cancel()
        clean_up = asyncio.ensure_future(self._leave())
        try:
            await asyncio.shield(clean_up)
        except asyncio.CancelledError:
            await clean_up
            raise

    async def _leave(self) -> None:
        if self._database_call is not None:  # a join that was cut off still commits: wait for it
            await asyncio.wait([self._database_call])
        try:
            await handlers.leave(self, reason=self.ended_by)
        except Exception:
            logger.exception("the leave of %s was not completed", self.address)


async def _layer(call: Coroutine[Any, Any, None]) -> None:
    """Await a call of the channel layer; its failures become refusals."""
    try:
        await call
    except ChannelFull:
        raise ProtocolError(
            ErrorCode.PEER_BUSY, "This peer does not keep up; try again.", retry_after=1
        ) from None
    except Exception:
        logger.exception("the channel layer is away")
        refusal = unavailable()
        refusal.close = None
        raise refusal from None


def _limit(wait: float, message: str, close: CloseCode | None = None) -> None:
    if wait:
        raise ProtocolError(
            ErrorCode.RATE_LIMITED,
            f"{message}; slow down.",
            close=close,
            retry_after=round(wait + 0.0005, 3),
        )


def _authentication_required() -> ProtocolError:
    return ProtocolError(
        ErrorCode.AUTHENTICATION_REQUIRED,
        "Authenticate first: send a token with the handshake or an authenticate event.",
        close=CloseCode.AUTHENTICATION,
    )


def _from_domain(error: RoomError) -> ProtocolError:
    refusal = ProtocolError(error.code, str(error))
    refusal.details = dict(error.details)
    return refusal


def _internal(reference: str, close: CloseCode | None = None) -> ProtocolError:
    return ProtocolError(
        ErrorCode.INTERNAL,
        "Something went wrong here; it was logged.",
        close=close,
        reference=reference,
    )
