"""Decide which participants give up their seats so that a user can join.

``services.join`` calls these functions in its transaction, with the row of the room locked, and
ends the memberships that they return.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import F, Q
from django.db.models.functions import Now

from .conf import conf, hook
from .exceptions import TooManyDevices
from .models import Participant, Room

HOST = Participant.Role.HOST

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser


def ghosts(room: Room, user: AbstractBaseUser, others: list[Participant]) -> list[Participant]:
    """Return the lost memberships of the user whose seats the join needs.

    A membership is lost if its peer is away or its worker's lease has expired. ``others``: the
    live participants. Raise ``TooManyDevices`` if the user would still hold too many seats. The
    host never does: see ``evictions``.
    """
    own = [participant for participant in others if participant.user_id == user.pk]
    limit = conf().seats_per_user
    needed = 1 + max(len(own) - limit, len(others) - room.limit)
    if not own or needed <= 0:
        return []
    lost = _find_lost(own)[:needed]
    if len(own) - len(lost) >= limit and not hook(conf().is_host)(user, room):
        raise TooManyDevices(limit=limit)
    return lost


def evictions(room: Room, user: AbstractBaseUser, others: list[Participant]) -> list[Participant]:
    """Return the participants that have to leave because the host of the room joins.

    In a full room, the newest seat of the users who hold the most, but not of another host; if the
    host holds too many seats, the newest of the host. ``others``: the live participants. Empty for
    any other user.
    """
    leaving: list[Participant] = []
    if not hook(conf().is_host)(user, room):
        return leaving
    staying = [*others]
    while staying:
        seats = [seat for seat in staying if seat.user_id == user.pk or seat.role != HOST]
        held = Counter(seat.user_id for seat in seats)
        if held[user.pk] >= conf().seats_per_user:
            holders = {user.pk}
        elif seats and len(staying) >= room.limit:
            holders = {holder for holder, count in held.items() if count == max(held.values())}
        else:
            break
        newest = max((seat for seat in seats if seat.user_id in holders), key=_age)
        staying.remove(newest)
        leaving.append(newest)
    return leaving


def _find_lost(own: list[Participant]) -> list[Participant]:
    """Return the lost ones of the participants, the one that has been lost for longest first."""
    # A query of its own: most joins need no seat of the user and stay at four statements.
    by_pk = {participant.pk: participant for participant in own}
    lost = Q(away_until__isnull=False) | Q(worker__expires_at__lt=Now())
    found = Participant.objects.filter(lost, pk__in=by_pk)
    ordered = found.order_by(F("away_until").asc(nulls_first=True), "pk")
    return [by_pk[pk] for pk in ordered.values_list("pk", flat=True)]


def _age(participant: Participant) -> int:
    return participant.pk  # assigned while the room's row was locked
