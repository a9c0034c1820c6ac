"""The roster of a room: its live memberships. Each change increments ``Room.roster_version``.

The version is written in the transaction of the change, and the row of the room is locked before
any participant. So the versions of a room order its changes, and a read of all participants
contains exactly the changes up to the version that was read with them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

from django.db.models import F, QuerySet

from . import signals
from .clock import LocalNow
from .models import Participant, Room


def lock_unlocked(memberships: QuerySet[Participant]) -> list[Room]:
    """Lock those rooms of these memberships that no other transaction has locked. Return them.

    In the order in which all transactions lock rooms.
    """
    rooms = Room.objects.filter(pk__in=memberships.values("room")).order_by("pk")
    rooms = rooms.only("roster_version")
    return list(rooms.select_for_update(no_key=True, skip_locked=True))


def lock_room_of(peer_id: str) -> Room | None:
    """Lock the room of a peer, for a change of this peer. Every leave needs it, so it is cheap."""
    rooms = Room.objects.filter(participants__peer_id=peer_id).order_by().only("roster_version")
    return next(iter(rooms.select_for_update(of=("self",), no_key=True)), None)


def advance(room: Room) -> int:
    """Count a change of the roster of a locked room. Return its new version."""
    room.roster_version += 1
    Room.objects.filter(pk=room.pk).update(roster_version=room.roster_version)
    return room.roster_version


def advance_for(peers: Collection[Participant], rooms: Collection[Room]) -> None:
    """Count one change for each of the ``peers``, whose ``rooms`` are locked."""
    versions = {room.pk: room.roster_version for room in rooms}
    for peer in peers:
        versions[peer.room_id] += 1
        peer.roster_version = versions[peer.room_id]
    by_count: defaultdict[int, list[int]] = defaultdict(list)
    for room_id, count in Counter(peer.room_id for peer in peers).items():
        by_count[count].append(room_id)
    for count, room_ids in by_count.items():
        Room.objects.filter(pk__in=room_ids).update(roster_version=F("roster_version") + count)


def change(room: Room, mine: QuerySet[Participant], **values: Any) -> int:
    """Update a membership of a locked room. Return the roster's version, 0 without a change."""
    return advance(room) if mine.update(**values) else 0


def end(room: Room, peer_id: str, *, reason: str, epoch: int | None = None) -> int:
    """End a membership of a locked room, as ``change`` does; see ``services.leave``."""
    mine = Participant.objects.of_socket(peer_id, epoch)
    version = change(room, mine, left_at=LocalNow(), seat=None, reason=reason, held=None)
    if version:
        _send_left_on_commit({peer_id: version})
    return version


def end_unlocked(memberships: QuerySet[Participant], *, reason: str) -> list[Participant]:
    """End those of the live ``memberships`` that no other transaction has locked. Return them."""
    rooms = lock_unlocked(memberships)
    unlocked = memberships.filter(room__in=rooms).select_related("room")
    ended = list(unlocked.select_for_update(of=("self",), no_key=True, skip_locked=True))
    mine = memberships.filter(pk__in=[peer.pk for peer in ended])
    mine.update(left_at=LocalNow(), seat=None, reason=reason, held=None)
    advance_for(ended, rooms)
    for peer in ended:
        peer.reason, peer.seat = reason, None
    _send_left_on_commit({peer.peer_id: peer.roster_version for peer in ended})
    return ended


def _send_left_on_commit(versions: dict[str, int]) -> None:
    # Read the rows again only for receivers of the signal: otherwise it costs no statement.
    if not versions or not signals.participant_left.has_listeners(Participant):
        return
    for participant in Participant.objects.select_related("room", "user").filter(
        peer_id__in=versions
    ):
        participant.roster_version = versions[participant.peer_id]
        signals.send_on_commit(signals.participant_left, Participant, participant=participant)
