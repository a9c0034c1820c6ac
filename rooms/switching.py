"""How the media of a room travel, and when that changes: through a mesh, or through an SFU.

A mesh of people who talk is not broken off for an SFU that nobody has tried. A room *switches* for a while,
in which both ways are there; its peers report, and then the switch is committed or taken back. Who
asks first decides it, under the lock of the room's row; what others ask later changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone

from . import policies, services, transitions
from .conf import conf
from .exceptions import Forbidden, NotInRoom, RoomFull, RoomNotFound, SfuUnavailable
from .models import Participant, Room
from .transitions import Reason

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


def get_room(code: str) -> Room:
    """Return the room with ``code`` as it is now. Raises ``RoomNotFound``."""
    try:
        return Room.objects.get(code=code)
    except Room.DoesNotExist as missing:
        raise RoomNotFound from missing


def set_mode(code: str, mode: str, *, user: AbstractBaseUser, sfu: str | None) -> None:
    """Change the mode of a room because its host, or the staff, asks for it.

    ``sfu``: the name of one that answers. Raises ``Forbidden``, ``SfuUnavailable`` and, where a mesh
    cannot hold all who are there, ``RoomFull``.
    """
    if not (policies.is_host(user, get_room(code)) or getattr(user, "is_staff", False)):
        raise Forbidden
    with transaction.atomic():
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
    """Write down what a peer says of its connections to the SFU; true where that counts.

    Raises ``NotInRoom``. What is said of another version than the present one does not count.
    """
    with transaction.atomic():
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
        _settle(room)
    return True


def save_claim(peer_id: str, *, epoch: int, claim: dict[str, int] | None) -> bool:
    """Keep where the SFU has the connections of a peer, for whichever worker it resumes on."""
    return bool(Participant.objects.of_socket(peer_id, epoch).update(sfu_claim=claim))


def find_orphans(peer_ids: Collection[str]) -> dict[str, dict[str, int] | None]:
    """Return which of some peers are in no room (any more), and what they had in its SFU."""
    known = Participant.objects.filter(peer_id__in=peer_ids)
    strangers: dict[str, dict[str, int] | None] = dict.fromkeys(peer_ids)
    for peer_id, claim, left_at in known.values_list("peer_id", "sfu_claim", "left_at"):
        if left_at is None:
            del strangers[peer_id]
        else:
            strangers[peer_id] = claim
    return strangers


def handle_sfu_loss(code: str, version: int) -> bool:
    """The SFU of a room is lost: make it a mesh where that holds it. Tell whether it is one now."""
    with transaction.atomic():
        room = _lock(code)
        if room.mode != Room.Mode.SFU or room.mode_version != version:
            return room.mode == Room.Mode.P2P
        if not room.is_switching and room.participants.live().count() > room.p2p_limit:
            return False
        _take_back(room, Reason.SFU_LOST)
    return True


def reconcile(known: frozenset[str]) -> list[Room]:
    """Do what is due for the rooms that an SFU serves, and return those that it still serves.

    ``known``: the SFUs that the site has now. Many workers may ask, every few seconds: each change is made,
    and announced, once.
    """
    served = list(Room.objects.filter(mode=Room.Mode.SFU).with_live_counts())
    return [room for room in served if not _is_due(room, known) or _tend(room.code, known)]


def _is_due(room: Room, known: frozenset[str]) -> bool:
    is_small = conf().back_to_mesh and room.live_count <= conf().back_to_mesh_peers
    is_served = room.live_count > 0 and room.sfu in known
    return room.is_switching or not is_served or is_small or room.small_since is not None


def _tend(code: str, known: frozenset[str]) -> bool:
    """Tell whether an SFU serves the room afterwards."""
    with transaction.atomic():
        room = _lock(code)
        if room.mode == Room.Mode.SFU:
            live = room.participants.live().count()
            if not live:
                transitions.to_mesh(room, Reason.ROOM_SHRANK)
            elif room.sfu not in known:  # taken out of the settings
                _take_back(room, Reason.SFU_LOST)
            elif room.is_switching:
                _settle(room)
            elif conf().back_to_mesh and room.topology == Room.Topology.AUTO:
                _shrink(room, live)
    return room.mode == Room.Mode.SFU


def _settle(room: Room) -> None:
    """Commit a switch when all who are here have arrived; decide it when its time is over, or the quorum
    cannot be reached any more."""
    if room.switching_until is None:
        return
    here = list(room.participants.live().filter(away_until=None))
    reached = sum(peer.receives_through_sfu(room.mode_version) for peer in here)
    failed = sum(
        peer.sfu_version == room.mode_version and peer.sfu_state == Participant.SfuState.FAILED
        for peer in here
    )
    quorum = conf().switch_quorum * len(here)
    is_over = room.switching_until <= timezone.now()
    if here and (reached == len(here) or (is_over and reached >= quorum)):
        transitions.commit(room)
    elif is_over or len(here) - failed < quorum:
        _take_back(room, Reason.SFU_UNREACHABLE)


def _take_back(room: Room, reason: Reason) -> None:
    """Make a room a mesh of those who came first; the others leave."""
    surplus = list(room.participants.live().order_by("pk")[room.p2p_limit :])
    for peer in reversed(surplus):  # the latest first, as all who lock several peers do
        services.leave(peer.peer_id, reason=Participant.Reason.DISCONNECTED)
    transitions.to_mesh(room, reason, surplus)


def _shrink(room: Room, live: int) -> None:
    """A room that has been small for a while is a mesh again."""
    is_small = live <= min(conf().back_to_mesh_peers, room.p2p_limit)
    since, now = room.small_since, timezone.now()
    if not is_small or since is None:
        room.small_since = now if is_small else None
        room.save(update_fields=["small_since"])
    elif since <= now - timedelta(seconds=conf().back_to_mesh_seconds):
        transitions.to_mesh(room, Reason.ROOM_SHRANK)


def _lock(code: str) -> Room:
    return Room.objects.select_for_update().get(code=code)
