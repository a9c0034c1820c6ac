"""Queries for participants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from django.db import models

if TYPE_CHECKING:
    from .models import Participant  # noqa: F401  (named in quotes)


class ParticipantQuerySet(models.QuerySet["Participant"]):
    def live(self) -> Self:
        """Return the participants that have not left."""
        # Every live participant has a seat. Testing it makes SQLite use the partial index too.
        return self.filter(left_at__isnull=True, seat__gte=1)

    def of_socket(self, peer_id: str, epoch: int | None) -> Self:
        """Return the live membership of a peer; with ``epoch``, only if it is the current one."""
        found = self.live().filter(peer_id=peer_id)
        return found if epoch is None else found.filter(epoch=epoch)
