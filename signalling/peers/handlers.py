"""What each event does: one function an event, named after it, in one table.

Knows no Channels and no ORM: it talks to a ``Peer`` and to ``rooms.services``. A refusal is an
exception (``ProtocolError``, or ``RoomError`` of the domain), which the consumer turns into an
``error`` event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import UNSET

from rooms import codes, resuming, services, switching
from rooms.conf import hook
from rooms.exceptions import CodeInvalid, NotInRoom, RoomNotFound, SfuRequired
from rooms.services import Joined, ResumeState
from signalling import protocol, sfu
from signalling.auth.tokens import Identity, TokenRefused
from signalling.conf import conf
from signalling.protocol import CloseCode, ErrorCode, ProtocolError
from signalling.protocol.errors import authentication_required, peer_not_found
from signalling.sfu.routes import route
from signalling.throttling import failures

from . import messages
from .port import Membership, Peer

Handler = Callable[[Peer, Any], Awaitable[None]]


async def authenticate(peer: Peer, event: protocol.Authenticate) -> None:
    """Prove or renew an identity; a socket never changes hands."""
    try:
        identity = await peer.identify(event.token)
    except TokenRefused as refusal:
        if peer.identity is not None and refusal.code == ErrorCode.TOKEN_EXPIRED:
            refusal.close = None  # what expires ends no call
        raise
    if peer.identity is not None and peer.identity.user.pk != identity.user.pk:
        raise ProtocolError(
            ErrorCode.TOKEN_SUBJECT_MISMATCH, "This token is another user's than this socket."
        )
    peer.identity = identity
    expires_at = identity.expires_at.isoformat() if identity.expires_at else None
    info = await peer.database(hook(conf().user_info), identity.user)
    await peer.answer(protocol.Authenticated(user_info=info, expires_at=expires_at))


async def join_room(peer: Peer, event: protocol.JoinRoom) -> None:
    """Take a seat, answer with the room, and announce the newcomer to those who are there.

    Group first, row second: a peer that commits between the two is either in the list or will be
    announced to this socket, whose announcements wait until this function has answered.
    """
    identity = _require_identity(peer)
    if peer.membership is not None:
        raise ProtocolError(ErrorCode.ALREADY_JOINED, "Leave your present room first.")
    joined = await _take_seat(peer, identity, event)
    if joined.resumed is not None:
        await _fetch_what_was_held(peer, joined.resumed)
    if joined.resume_token is not None:
        peer.expect_heartbeat()
    await peer.answer(_room_joined(joined, _require_membership(peer)))
    peer.follow_mode(joined.participant.sfu_claim)
    peer.seated()
    if peer.membership is not None:  # it may have heard that it is out again
        await _announce(peer, joined)


async def leave_room(peer: Peer, event: protocol.LeaveRoom) -> None:
    _require_membership(peer)
    await leave(peer, reason="left")


async def relay(peer: Peer, event: protocol.Relay) -> None:
    """Pass an offer, an answer or a candidate on. No database, no thread, no copy of the payload."""
    membership = _require_membership(peer)
    if event.target_peer_id not in membership.roster:
        await _to_sfu(membership, event)
        return
    frame = protocol.encode_relay(event, membership.peer_id)
    await peer.relay(event.target_peer_id, frame)


async def peer_update(peer: Peer, event: protocol.PeerUpdate) -> None:
    """Tell the others what this peer sends and is called, and remember it for those who come later."""
    membership = _require_membership(peer)
    changes = event.changes()
    await peer.database(
        services.update_participant, membership.peer_id, epoch=membership.epoch, **changes
    )
    updated = protocol.PeerUpdated(peer_id=membership.peer_id, **changes)
    await peer.publish(messages.updated(membership.room_code, updated))


async def choose_mode(peer: Peer, event: protocol.ChooseMode) -> None:
    """Route the room through an SFU, or make it a mesh, because its host says so."""
    membership, identity = _require_membership(peer), _require_identity(peer)
    alias = await sfu.get_sfus().first_healthy() if event.mode == "sfu" else ""
    await peer.database(
        switching.set_mode, membership.room_code, event.mode, user=identity.user, sfu=alias
    )


async def sfu_state(peer: Peer, event: protocol.SfuState) -> None:
    """Note that a peer has reached the SFU, or has not, and tell the others."""
    membership = _require_membership(peer)
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


async def sfu_restart(peer: Peer, event: protocol.SfuRestart) -> None:
    """Mend a peer's connections to the SFU."""
    link = _require_membership(peer).link
    if link is None:
        raise peer_not_found()
    await link.restart(anew=event.anew)


async def ping(peer: Peer, event: protocol.Ping) -> None:
    await peer.answer(protocol.Pong())


async def leave(peer: Peer, *, reason: str) -> None:
    """End a membership, whichever way it ends. Idempotent: only who ended it announces it."""
    membership, peer.membership = peer.membership, None
    if membership is None:
        return
    ended = False
    try:
        ended = await peer.record(
            services.leave, membership.peer_id, reason=reason, epoch=membership.epoch
        )
        if ended:
            await peer.publish(messages.left(membership.room_code, membership.peer_id, reason))
    finally:
        if membership.link is not None:
            membership.link.end(is_ours=ended)
        await peer.unsubscribe(membership.room_code)


async def _to_sfu(membership: Membership, event: protocol.Relay) -> None:
    if event.target_peer_id not in protocol.SFU_PEERS or membership.link is None:
        raise peer_not_found()
    await membership.link.receive(event)


async def _take_seat(peer: Peer, identity: Identity, event: protocol.JoinRoom) -> Joined:
    keys = f"code:{identity.user.pk}", f"code:{peer.address}"
    failures.check(*keys)
    try:
        # From here on the socket's clean-up knows which membership to end.
        peer.membership = membership = Membership(codes.normalise(event.room_code))
        await peer.subscribe(membership.room_code)
        place: dict[str, Any] = {
            "code": membership.room_code,
            "user": identity.user,
            "channel_name": peer.channel_name,
            "worker_id": await peer.worker(),
        }
        if event.resume_token is not None:
            return await peer.seat(resuming.resume, **place, token=event.resume_token)
        place |= {"peer_id": membership.peer_id, "resumable": event.resumable}
        return await _join(peer, place)
    except Exception as refusal:
        await _give_up(peer)
        if isinstance(refusal, (RoomNotFound, CodeInvalid)):
            failures.failed(*keys)
            raise RoomNotFound from None
        raise


async def _join(peer: Peer, place: dict[str, Any]) -> Joined:
    """Join; an SFU is asked whether it answers where the room cannot do without one."""
    sfus = sfu.get_sfus()
    try:
        return await peer.seat(services.join, **place, sfu=None if sfus else "")
    except SfuRequired:
        return await peer.seat(services.join, **place, sfu=await sfus.first_healthy())


async def _fetch_what_was_held(peer: Peer, resumed: ResumeState) -> None:
    _require_membership(peer).has_gap = resumed.gap
    if resumed.previous_channel is not None:
        await peer.take_over(resumed.previous_channel)
    elif resumed.held is not None:
        peer.restore(resumed.held)


async def _announce(peer: Peer, joined: Joined) -> None:
    change = messages.back if joined.resumed is not None else messages.joined
    try:
        await peer.publish(change(joined.room.code, joined.participant))
    except ProtocolError as failure:
        # The others would never know of this peer, and drop what it sends: it comes back instead.
        failure.close = CloseCode.UNAVAILABLE
        raise


async def _give_up(peer: Peer) -> None:
    membership, peer.membership = peer.membership, None
    if membership is not None:
        await peer.unsubscribe(membership.room_code)


def _room_joined(joined: Joined, membership: Membership) -> protocol.RoomJoined:
    room, participant, settings = joined.room, joined.participant, conf()
    way = route(membership.mode, room.code, participant.peer_id)
    gap, membership.has_gap = membership.has_gap, False
    token = joined.resume_token
    return protocol.RoomJoined(
        room_id=room.public_id,
        peer_id=participant.peer_id,
        peers=[
            protocol.PeerInfo(
                id=other.peer_id,
                user_info=other.user_info,
                media=other.media,
                away=other.is_away,
                path="sfu" if other.receives_through_sfu(room.mode_version) else UNSET,
            )
            for other in joined.others
        ],
        mode=room.mode,
        mode_version=room.mode_version,
        switching=room.is_switching,
        sfu=way if way is not None else UNSET,
        ice_servers=settings.ice_servers,
        ice_expires_at=None,
        role=participant.role,
        limits=protocol.Limits(room.p2p_limit, room.total_limit, settings.mesh_kbps),
        resumed=joined.resumed is not None,
        resume_token=token if token is not None else UNSET,
        resume_window=settings.resume_window if token is not None else UNSET,
        gap=gap,
    )


def _require_identity(peer: Peer) -> Identity:
    if peer.identity is None:
        raise authentication_required()
    if peer.identity.has_expired:  # ends no call, but opens no door
        raise ProtocolError(
            ErrorCode.TOKEN_EXPIRED, "The access token has expired; renew it with authenticate."
        )
    return peer.identity


def _require_membership(peer: Peer) -> Membership:
    if peer.membership is None:
        raise NotInRoom
    return peer.membership


HANDLERS: dict[type[protocol.ClientEvent], Handler] = {
    protocol.Authenticate: authenticate,
    protocol.JoinRoom: join_room,
    protocol.LeaveRoom: leave_room,
    protocol.WebrtcOffer: relay,
    protocol.WebrtcAnswer: relay,
    protocol.WebrtcIce: relay,
    protocol.PeerUpdate: peer_update,
    protocol.ChooseMode: choose_mode,
    protocol.SfuState: sfu_state,
    protocol.SfuRestart: sfu_restart,
    protocol.Ping: ping,
}
