"""When a room changes between a mesh and an SFU.

A working mesh is not dropped before the SFU has proved to work. A room *switches* for a while, in
which both carry media. Its peers report whether they receive through the SFU; then the switch is
committed or rolled back. Every function locks the room's row, so the first request decides and
later ones change nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q

from . import primary, rosters, transitions
from .conf import conf, hook
from .exceptions import Forbidden, NotInRoom, RoomFull, RoomNotFound, SfuUnavailable
from .models import Participant, Room
from .transitions import Reason

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


def get_room(code: str) -> Room:
    """Return the room with ``code``, in its current mode. Raise ``RoomNotFound``."""
    try:
        return Room.objects.get(code=code)
    except Room.DoesNotExist as missing:
        raise RoomNotFound from missing


def set_mode(code: str, mode: str, *, user: AbstractBaseUser, sfu: str | None) -> None:
    """Change the mode of a room at the request of its host or of a staff user.

    ``mode``: a value of ``Room.Mode``. ``sfu``: the alias of a healthy SFU, or empty.
    Raise ``Forbidden`` if the user or the room's topology does not allow it, ``SfuUnavailable``
    without a healthy SFU, and ``RoomFull`` if a mesh cannot hold all participants.
    """
    if not (hook(conf().is_host)(user, get_room(code)) or getattr(user, "is_staff", False)):
        raise Forbidden
    with primary.atomic():
        room = _lock(code)
        if mode == room.mode:
            return
        if mode == Room.Mode.P2P:
            if room.participants.live().count() > room.p2p_limit:
                raise RoomFull(limit=room.p2p_limit, mode=Room.Mode.P2P)
            transitions.to_mesh(room, Reason.HOST)
        elif room.topology == Room.Topology.MESH:
            raise Forbidden
        elif not sfu:
            raise SfuUnavailable
        else:
            transitions.to_sfu(room, sfu, Reason.HOST, switching=True)


def record_sfu_state(peer_id: str, *, epoch: int, version: int, state: str) -> bool:
    """Store the SFU state that a peer reports. Return whether the report counts.

    ``version``: the mode version that the peer reports on; only the current one counts.
    ``state``: a value of ``Participant.SfuState``.
    Raise ``NotInRoom``.
    """
    with primary.atomic():
        mine = Participant.objects.of_socket(peer_id, epoch)
        participant = mine.select_related("room").first()
        if participant is None:
            raise NotInRoom
        if (participant.sfu_version, participant.sfu_state) == (version, state):
            return True
        room = _lock(participant.room.code)
        if room.mode != Room.Mode.SFU or room.mode_version != version:
            return False
        mine.update(sfu_state=state, sfu_version=version)
        _decide_switch(room)
    return True


def find_switching() -> list[Room]:
    """Return the rooms that are moving to an SFU."""
    return list(Room.objects.filter(mode=Room.Mode.SFU, switching_until__isnull=False))


def record_carried(code: str, *, version: int, peer_ids: Collection[str]) -> None:
    """Store which peers of a room the SFU has a media connection with.

    These count as arrived, whatever they report: no peer can veto a switch by lying.
    ``version``: the mode version for which the SFU was asked.
    """
    live = Participant.objects.live().filter(room__code=code)
    carried, known = Q(peer_id__in=peer_ids), Q(sfu_carried_version=version)
    for changed, value in ((carried & ~known, version), (known & ~carried, 0)):
        with primary.write():
            live.filter(changed).update(sfu_carried_version=value)


def save_claim(peer_id: str, *, epoch: int, claim: dict[str, int] | None) -> bool:
    """Store a peer's claim on its SFU connections, so that it can resume on any worker.

    ``claim``: the IDs that the SFU gave them. Return whether the peer is live in this epoch.
    """
    with primary.write():
        return bool(Participant.objects.of_socket(peer_id, epoch).update(sfu_claim=claim))


def find_orphans(peer_ids: Collection[str]) -> dict[str, dict[str, int] | None]:
    """Return the ``peer_ids`` that are in no room, each with its last claim or ``None``."""
    known = Participant.objects.filter(peer_id__in=peer_ids)
    orphans: dict[str, dict[str, int] | None] = dict.fromkeys(peer_ids)
    for peer_id, claim, left_at in known.values_list("peer_id", "sfu_claim", "left_at"):
        if left_at is None:
            del orphans[peer_id]
        else:
            orphans[peer_id] = claim
    return orphans


def handle_sfu_loss(code: str, version: int) -> bool:
    """Make a room that has lost its SFU a mesh. Return whether it is a mesh now.

    A room that is too large for a mesh keeps its mode, except during a switch, when the mesh
    still exists. ``version``: the mode version in which the SFU was lost.
    """
    with primary.atomic():
        room = _lock(code)
        if room.mode != Room.Mode.SFU or room.mode_version != version:
            return room.mode == Room.Mode.P2P
        if not room.is_switching and room.participants.live().count() > room.p2p_limit:
            return False
        _roll_back(room, Reason.SFU_LOST)
    return True


def reconcile(aliases: frozenset[str]) -> list[Room]:
    """Apply changes that are due in rooms with an SFU. Return the rooms that still have one.

    ``aliases``: the SFUs in the settings. Every worker calls this every few seconds; the lock
    ensures that each change is made and announced once.
    """
    routed = list(Room.objects.filter(mode=Room.Mode.SFU).with_live_counts())
    return [
        room
        for room in routed
        if not _may_change(room, aliases) or _reconcile_room(room.code, aliases)
    ]


def _may_change(room: Room, aliases: frozenset[str]) -> bool:
    is_small = conf().back_to_mesh and room.live_count <= conf().back_to_mesh_peers
    is_served = room.live_count > 0 and room.sfu in aliases
    return room.is_switching or not is_served or is_small or room.small_since is not None


def _reconcile_room(code: str, aliases: frozenset[str]) -> bool:
    """Return whether the room still has an SFU."""
    with primary.atomic():
        unlocked = Room.objects.select_for_update(no_key=True, skip_locked=True)
        room = unlocked.with_now().filter(code=code).first()
        if room is None:  # locked by another transaction, which delays no other room
            return True
        if room.mode == Room.Mode.SFU:
            live = room.participants.live().count()
            if not live:
                transitions.to_mesh(room, Reason.ROOM_SHRANK)
            elif room.sfu not in aliases:  # removed from the settings
                _roll_back(room, Reason.SFU_LOST)
            elif room.is_switching:
                _decide_switch(room)
            elif conf().back_to_mesh and room.topology == Room.Topology.AUTO:
                _shrink(room, live)
    return room.mode == Room.Mode.SFU


def _decide_switch(room: Room) -> None:
    """Commit a switch when every connected peer receives through the SFU.

    At the deadline it suffices that a quorum has arrived: peers that receive, and peers that the
    SFU carries. Roll back if the quorum was missed. Also roll back if it is out of reach, but not
    in the first third of the time, when the SFU may not carry peers that report a failure *yet*.
    """
    if room.switching_until is None:
        return
    version, left = room.mode_version, room.switching_until - room.now
    is_over = left <= timedelta(0)
    may_give_up = left <= timedelta(seconds=conf().switch_seconds * 2 / 3)
    connected = set(room.participants.live().filter(away_until=None))
    receiving = {peer for peer in connected if peer.receives_through_sfu(version)}
    carried = {peer for peer in connected if peer.sfu_carried_version == version}
    failure = version, Participant.SfuState.FAILED
    failed = {peer for peer in connected if (peer.sfu_version, peer.sfu_state) == failure} - carried
    quorum = conf().switch_quorum * len(connected)
    if connected and (receiving == connected or (is_over and len(receiving | carried) >= quorum)):
        transitions.commit(room)
    elif is_over or (may_give_up and len(connected - failed) < quorum):
        _roll_back(room, Reason.SFU_UNREACHABLE)


def _roll_back(room: Room, reason: Reason) -> None:
    """Make a room a mesh of its earliest participants. The others leave."""
    surplus = list(room.participants.live().order_by("pk")[room.p2p_limit :])
    for peer in reversed(surplus):  # latest first: all code that locks several peers does so
        peer.roster_version = rosters.end(
            room, peer.peer_id, reason=Participant.Reason.DISCONNECTED
        )
    transitions.to_mesh(room, reason, surplus)


def _shrink(room: Room, live: int) -> None:
    """Make a room a mesh if it has been small for long enough."""
    is_small = live <= min(conf().back_to_mesh_peers, room.p2p_limit)
    since, now = room.small_since, room.now
    if not is_small or since is None:
        room.small_since = now if is_small else None
        room.save(update_fields=["small_since"])
    elif since <= now - timedelta(seconds=conf().back_to_mesh_seconds):
        transitions.to_mesh(room, Reason.ROOM_SHRANK)


def _lock(code: str) -> Room:
    return Room.objects.select_for_update(no_key=True).with_now().get(code=code)
