"""The steps of ``join:room``: take a seat, fetch the held frames, answer, announce."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from rooms import codes, names, resuming, services
from rooms.exceptions import CodeInvalid, NotInRoom, RoomNotFound, SfuRequired
from rooms.services import Joined, ResumeState
from signalling import protocol, sfu
from signalling.auth.identity import Identity
from signalling.conf import conf
from signalling.protocol import CloseCode, ProtocolError
from signalling.sfu.mode import Mode
from signalling.sfu.routes import route

from . import messages
from .membership import Membership
from .port import Peer


async def take_seat(peer: Peer, identity: Identity, event: protocol.JoinRoom) -> Joined:
    """Subscribe to the room and take a seat, or resume the membership of ``resume_token``.

    Raises ``RoomError`` and ``ProtocolError``; the peer has no membership then.
    """
    try:
        # Set first, so that the clean-up of a socket that closes knows what to end.
        peer.membership = membership = Membership(
            codes.normalise(event.room_code), identity.user_key, identity=identity
        )
        await peer.subscribe(membership.room_code)
        place: dict[str, Any] = {
            "code": membership.room_code,
            "channel_name": peer.channel_name,
            "worker_id": await peer.register_worker(),
        }
        if event.resume_token is not None:
            return await peer.seat(resuming.resume, **place, token=event.resume_token)
        place |= {"peer_id": membership.peer_id, "resumable": event.resumable}
        return await _join(peer, place)
    except CodeInvalid:
        await _abort(peer)
        raise RoomNotFound from None
    except Exception:
        await _abort(peer)
        raise


def require_membership(peer: Peer) -> Membership:
    """Return the membership of a peer. Raises ``NotInRoom``."""
    membership = peer.membership
    if membership is None:
        raise NotInRoom
    return membership


async def fetch_held(peer: Peer, resumed: ResumeState) -> None:
    """Restore the frames that were held for a peer that resumes."""
    require_membership(peer).has_gap = resumed.gap
    if resumed.previous_channel is not None:
        await peer.take_over(resumed.previous_channel)
    elif resumed.held is not None:
        peer.restore(messages.held_state(resumed.held))


async def announce(peer: Peer, joined: Joined) -> None:
    """Publish ``peer:joined`` or ``peer:back`` to the room.

    If that fails the socket is closed: the others would drop the relays of an unknown peer. The
    client reconnects and joins again.
    """
    change = messages.back if joined.resumed is not None else messages.joined
    try:
        version = joined.participant.roster_version
        await peer.publish(change(joined.room.code, joined.participant, version))
    except ProtocolError as failure:
        failure.close = CloseCode.UNAVAILABLE
        raise


def room_joined(joined: Joined, mode: Mode, *, gap: bool) -> protocol.RoomJoined:
    """Return the answer to ``join:room``. ``gap``: frames to the peer may have been lost."""
    room, participant, settings = joined.room, joined.participant, conf()
    sfu_route = route(mode, room.code, participant.peer_id)
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
                name_keys=names.keys(other.user_info),
            )
            for other in joined.others
        ],
        user_info=participant.user_info,
        name_keys=names.keys(participant.user_info),
        mode=room.mode,
        mode_version=room.mode_version,
        switching=room.is_switching,
        sfu=sfu_route if sfu_route is not None else UNSET,
        ice_servers=settings.ice_servers,
        ice_expires_at=None,
        role=participant.role,
        limits=protocol.Limits(room.p2p_limit, room.total_limit, settings.mesh_kbps),
        resumed=joined.resumed is not None,
        resume_token=token if token is not None else UNSET,
        resume_window=settings.resume_window if token is not None else UNSET,
        gap=gap,
    )


async def _join(peer: Peer, place: dict[str, Any]) -> Joined:
    """Join a room. Look for a healthy SFU only if the room requires one (``sfu=None``)."""
    sfus = sfu.get_sfus()
    try:
        return await peer.seat(services.join, **place, sfu=None if sfus else "")
    except SfuRequired:
        return await peer.seat(services.join, **place, sfu=await sfus.first_healthy())


async def _abort(peer: Peer) -> None:
    membership, peer.membership = peer.membership, None
    if membership is not None:
        await peer.unsubscribe(membership.room_code)
