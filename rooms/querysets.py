"""Questions that more than one place asks of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from .models import Participant, Room  # noqa: F401  (named in strings below)


class RoomQuerySet(models.QuerySet["Room"]):
    def with_live_counts(self) -> Self:
        """Annotate ``live_count``, the peers in the room now, in the same query.

        Counted for each room in the partial index of the seats, which holds nobody who has left: a
        join would walk through everybody who was ever there.
        """
        from .models import Participant  # the models import this module

        live = Participant.objects.live().filter(room=OuterRef("pk")).order_by()
        count = Subquery(live.values("room").annotate(count=Count("pk")).values("count"))
        return self.annotate(live_count=Coalesce(count, 0))

    def hosted_by(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Give "my rooms": the open rooms that a user hosts, newest first."""
        return self.filter(host=user.pk, is_active=True).order_by("-created_at", "-pk")


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def live(self) -> Self:
        # Whoever is live has a seat; saying so leads SQLite to the partial index of the seats too.
        return self.filter(left_at__isnull=True, seat__gte=1)

    def of_socket(self, peer_id: str, epoch: int | None) -> Self:
        """Give the live membership of a peer, and where ``epoch`` is given only while that counts."""
        found = self.live().filter(peer_id=peer_id)
        return found if epoch is None else found.filter(epoch=epoch)
