"""Questions that more than one place asks of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Count, Q

if TYPE_CHECKING:
    from .models import Participant, Room  # noqa: F401  (named in strings below)


class RoomQuerySet(models.QuerySet["Room"]):
    def with_live_counts(self) -> models.QuerySet[Any]:
        """Annotate ``live_count``, the peers in the room now, in the same query."""
        live = Q(participants__left_at__isnull=True)
        counted: models.QuerySet[Any] = self.annotate(live_count=Count("participants", filter=live))
        return counted


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def live(self) -> ParticipantQuerySet:
        return self.filter(left_at__isnull=True)
