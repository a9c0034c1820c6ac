"""Queries for rooms and participants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce, Now

from .primary import PrimaryQuerySet, Row

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser


class RoomQuerySet(PrimaryQuerySet[Row]):
    def with_live_counts(self) -> Self:
        """Annotate ``live_count``, the number of peers now in the room, in the same query.

        A subquery for each room reads the partial index of occupied seats. A join would read
        every membership that the room ever had.
        """
        participant: Any = self.model._meta.get_field("participants").related_model
        live = participant.objects.live().filter(room=OuterRef("pk")).order_by()
        count = Subquery(live.values("room").annotate(count=Count("pk")).values("count"))
        return self.annotate(live_count=Coalesce(count, 0))

    def with_now(self) -> Self:
        """Annotate ``now``, the time by the clock of the database server, in the same query."""
        return self.annotate(now=Now())

    def hosted_by(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """Return the open rooms that ``user`` hosts, newest first."""
        return self.filter(host=user.pk, is_active=True).order_by("-created_at", "-pk")


class ParticipantQuerySet(PrimaryQuerySet[Row]):
    def live(self) -> Self:
        """Return the participants that have not left."""
        # Every live participant has a seat. Testing it makes SQLite use the partial index too.
        return self.filter(left_at__isnull=True, seat__gte=1)

    def of_socket(self, peer_id: str, epoch: int | None) -> Self:
        """Return the live membership of a peer; with ``epoch``, only if it is the current one."""
        found = self.live().filter(peer_id=peer_id)
        return found if epoch is None else found.filter(epoch=epoch)
