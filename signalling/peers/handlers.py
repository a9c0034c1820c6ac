"""The handlers of the events, registered with ``@handles``.

Handlers use a ``Peer`` and the services of ``rooms``, neither Channels nor the ORM. To refuse a request
they raise ``ProtocolError``, or ``RoomError`` of the domain; the consumer sends it as an ``error``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from rooms import names, services, switching, user_info
from rooms.exceptions import DisplayNameInvalid
from rooms.logs import RareWarning
from rooms.services import Joined
from signalling import protocol, sfu
from signalling.auth.identity import Identity, TokenRefused
from signalling.database import DATABASE_UNAVAILABLE
from signalling.protocol import ErrorCode, ProtocolError
from signalling.protocol.errors import authentication_required, peer_not_found
from signalling.transport.send_queue import Overflow

from . import joining, messages
from .joining import require_membership
from .membership import Membership
from .port import Peer

logger = logging.getLogger("signalling")

# An outage ends many sockets at once.
_unannounced = RareWarning(logger, "The leave of %s was not announced to all peers: %r")
_failed_leave = RareWarning(logger, "The leave of %s failed")

Handler = Callable[[Peer, Any], Awaitable[None]]

HANDLERS: dict[type[protocol.ClientEvent], Handler] = {}
"""The handlers by event type, filled by ``@handles``."""

H = TypeVar("H", bound=Handler)


def handles(*events: type[protocol.ClientEvent]) -> Callable[[H], H]:
    """Register the decorated function as the handler of ``events``."""

    def register(handler: H) -> H:
        for event in events:
            HANDLERS[event] = handler
        return handler

    return register


@handles(protocol.Authenticate)
async def authenticate(peer: Peer, event: protocol.Authenticate) -> None:
    """Authenticate the socket, or renew its token. The user of a socket never changes."""
    try:
        identity = await peer.identify(event.token)
    except TokenRefused as refusal:
        if peer.identity is not None and refusal.code == ErrorCode.TOKEN_EXPIRED:
            refusal.close = None  # the call goes on without a valid token
        raise
    if peer.identity is not None and peer.identity.user.pk != identity.user.pk:
        raise ProtocolError(ErrorCode.TOKEN_SUBJECT_MISMATCH, "The token belongs to another user.")
    peer.identity = identity
    if peer.membership is not None:
        peer.membership.identity = identity
    expires_at = identity.expires_at.isoformat() if identity.expires_at else None
    info = await peer.database(user_info.describe, identity.user)
    await peer.answer(protocol.Authenticated(user_info=info, expires_at=expires_at))


@handles(protocol.JoinRoom)
async def join_room(peer: Peer, event: protocol.JoinRoom) -> None:
    """Take a seat, answer with the room, and announce the new peer to the others.

    The socket subscribes to the room before it takes the seat. A peer that joins between the two
    is therefore in the answer or announced afterwards: announcements wait for the answer.
    """
    identity = _require_identity(peer)
    if peer.membership is not None:
        raise ProtocolError(ErrorCode.ALREADY_JOINED, "Leave your current room first.")
    joined = await joining.take_seat(peer, identity, event)
    try:
        await _enter(peer, joined)
    except (ProtocolError, Overflow):
        raise
    except Exception:  # a bug: a client that gets an error has no seat
        await leave_quietly(peer, reason="disconnected")
        raise


async def _enter(peer: Peer, joined: Joined) -> None:
    """Answer a join or a resume that has its seat, and announce it."""
    if joined.resumed is not None:
        await joining.fetch_held(peer, joined.resumed)
    if joined.resume_token is not None:
        peer.expect_heartbeat()
    membership = require_membership(peer)
    gap = membership.take_gap()
    await peer.answer(joining.room_joined(joined, membership.mode, gap=gap))
    peer.follow_mode(joined.participant.sfu_claim)
    peer.seated()
    if peer.membership is not None:  # unless it was removed at once
        await joining.announce(peer, joined)


@handles(protocol.LeaveRoom)
async def leave_room(peer: Peer, event: protocol.LeaveRoom) -> None:
    require_membership(peer)
    await leave(peer, reason="left")


@handles(protocol.WebrtcOffer, protocol.WebrtcAnswer, protocol.WebrtcIce)
async def relay(peer: Peer, event: protocol.Relay) -> None:
    """Relay an offer, an answer or a candidate, without the database or a thread."""
    membership = require_membership(peer)
    if event.target_peer_id not in membership.roster:
        await _to_sfu(membership, event)
        return
    frame = protocol.encode_relay(event, membership.peer_id)
    await peer.relay(event.target_peer_id, frame)


@handles(protocol.PeerUpdate)
async def peer_update(peer: Peer, event: protocol.PeerUpdate) -> None:
    """Store the peer's media state and display name, and announce them to the others."""
    changes = event.changes()
    if "display_name" in changes:
        changes["display_name"] = _clean_name(changes["display_name"])
    membership = require_membership(peer)
    participant = await peer.database(
        services.update_participant, membership.peer_id, epoch=membership.epoch, **changes
    )
    updated = protocol.PeerUpdated(peer_id=membership.peer_id, **changes)
    if "display_name" in changes:
        updated.name_keys = names.keys(participant.user_info)
    await peer.publish(messages.updated(membership.room_code, updated))


@handles(protocol.ChooseMode)
async def choose_mode(peer: Peer, event: protocol.ChooseMode) -> None:
    """Route the room through an SFU or make it a mesh, at the request of its host."""
    membership = require_membership(peer)
    _require_identity(peer)
    alias = await sfu.get_sfus().first_healthy() if event.mode == "sfu" else ""
    await peer.act(switching.set_mode, membership.room_code, event.mode, sfu=alias)


@handles(protocol.SfuState)
async def sfu_state(peer: Peer, event: protocol.SfuState) -> None:
    """Record whether the peer receives through the SFU, and announce it if it does."""
    membership = require_membership(peer)
    counts = await peer.database(
        switching.record_sfu_state,
        membership.peer_id,
        epoch=membership.epoch,
        version=event.version,
        state=event.state,
    )
    if counts and event.state == "receiving":
        updated = protocol.PeerUpdated(peer_id=membership.peer_id, path="sfu")
        await peer.publish(messages.updated(membership.room_code, updated))


@handles(protocol.SfuRestart)
async def sfu_restart(peer: Peer, event: protocol.SfuRestart) -> None:
    """Restart the peer's connections to the SFU."""
    link = require_membership(peer).link
    if link is None:
        raise peer_not_found()
    await link.restart(recreate=event.anew)


@handles(protocol.Ping)
async def ping(peer: Peer, event: protocol.Ping) -> None:
    await peer.answer(protocol.Pong())


async def leave(peer: Peer, *, reason: str) -> None:
    """End the membership and announce it. Idempotent."""
    membership, peer.membership = peer.membership, None
    if membership is None:
        return
    room_code, peer_id = membership.room_code, membership.peer_id
    announce = partial(messages.left, room_code, peer_id, reason, epoch=membership.epoch)
    ended = False
    try:
        ended = await peer.record(
            announce, services.leave, peer_id, reason=reason, epoch=membership.epoch
        )
    finally:
        if membership.link is not None and ended:
            membership.link.close()
        elif membership.link is not None:
            membership.link.release()
        await peer.unsubscribe(room_code)


async def leave_quietly(peer: Peer, *, reason: str) -> None:
    """End the membership of a socket that has closed: no client awaits the errors."""
    try:
        await leave(peer, reason=reason)
    except (ProtocolError, *DATABASE_UNAVAILABLE) as error:
        _unannounced.log(peer.address, error)
    except Exception:
        _failed_leave.log(peer.address, exc_info=True)


async def _to_sfu(membership: Membership, event: protocol.Relay) -> None:
    if event.target_peer_id not in protocol.SFU_PEERS or membership.link is None:
        raise peer_not_found()
    await membership.link.receive(event)


def _clean_name(name: str) -> str:
    try:
        return names.clean(name)
    except DisplayNameInvalid as error:
        error.details["path"] = "$.data.displayName"
        raise


def _require_identity(peer: Peer) -> Identity:
    if peer.identity is None:
        raise authentication_required()
    if peer.identity.has_expired:  # the current call may go on
        raise ProtocolError(
            ErrorCode.TOKEN_EXPIRED, "The access token has expired; renew it with authenticate."
        )
    return peer.identity
