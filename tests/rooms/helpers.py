"""Functions that several tests of the domain use."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from rooms import switching
from rooms.models import Participant, Room
from tests.conftest import Enter

Received = list[tuple[str, Any]]
Changes = list[tuple[str, int, str, list[str]]]


def fill(room: Room, user: User, enter: Enter, count: int, **options: Any) -> list[Participant]:
    """Join a room several times as one user. Return the participants."""
    return [enter(user, room, **options).participant for _ in range(count)]


def seats(room: Room) -> list[int | None]:
    """Return the occupied seats of a room in ascending order."""
    return sorted(
        room.participants.live().values_list("seat", flat=True), key=lambda seat: seat or 0
    )


def reload(room: Room) -> Room:
    """Return a room as the database has it now."""
    return Room.objects.get(pk=room.pk)


def record(peer: Participant, version: int, state: str = "receiving") -> bool:
    """Report a peer's SFU state. Return whether it counts."""
    return switching.record_sfu_state(peer.peer_id, epoch=0, version=version, state=state)


def record_all(peers: list[Participant]) -> None:
    """Report for every peer that it receives through the SFU in mode version 1."""
    for peer in peers:
        record(peer, 1)


def reconcile() -> list[Room]:
    """Reconcile the rooms of a site with one SFU. Return the rooms that still have one."""
    return switching.reconcile(frozenset({"default"}))
