"""Releases rows that have no socket, without holding up the heartbeat."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from rooms import reconciling
from rooms.reconciling import Row
from signalling.database import RowLocked, run_in_background_thread

logger = logging.getLogger("signalling")

RELEASE_SECONDS = 2.0
"""How long a heartbeat begins further releases: each needs a transaction, and may wait for a lock."""


class Release(NamedTuple):
    """A row to release. ``may_resume``: it becomes away; otherwise it ends."""

    row: Row
    may_resume: bool


class Releases:
    """Releases the rows of one worker. Rows that were locked have to wait for the others."""

    def __init__(self) -> None:
        self._locked: set[str] = set()

    async def run(self, releases: Sequence[Release]) -> None:
        """Release as many rows as there is time for, at least one. The next heartbeat goes on.

        Raises ``DATABASE_UNAVAILABLE``.
        """
        deadline = monotonic() + RELEASE_SECONDS
        release = run_in_background_thread(reconciling.release)
        self._locked &= {row.peer_id for row, _ in releases}
        for row, may_resume in sorted(releases, key=lambda each: each.row.peer_id in self._locked):
            logger.warning("Releasing peer %s, which has no socket", row.peer_id)
            try:
                await release(row.peer_id, epoch=row.epoch, may_resume=may_resume)
            except RowLocked as error:
                self._locked.add(row.peer_id)
                logger.warning("Peer %s not released: %s", row.peer_id, error)
            if monotonic() > deadline:
                return
