"""Keeps the lease of this process, in a thread of its own.

A busy event loop, or busy threads and connections for the database, delay no renewal. An event loop
that hangs for as long as a lease loses it, because its peers cannot be reached.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.db import close_old_connections, connections

from rooms import leases, outages, primary
from rooms.logs import RareWarning
from signalling.database.probe import sever
from signalling.database.timeouts import limited

logger = logging.getLogger("signalling")

CHECK_SECONDS = 0.5
"""How often the event loop calls ``check``. A renewal that takes longer is an outage."""


HUNG_SECONDS = 2.0
"""A renewal that takes longer is ended, and tried again: after an outage of the network, an old
connection may hang for minutes. Within the time of three renewals, the lease must be renewed."""


def use_own_connection() -> Any:
    """Give this thread a lasting connection to the database, outside of the pool, and return it.

    Requests may use up the pool, and after an outage it waits longer and longer.
    """
    alias = primary.alias()
    own: Any = connections[alias].copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    own.settings_dict |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
    if own.vendor == "postgresql":
        own.settings_dict["OPTIONS"].setdefault("connect_timeout", int(HUNG_SECONDS))
    connections[alias] = own
    return own


class LeaseKeeper:
    """Renews a lease of ``seconds`` seconds every ``renewal`` seconds, from ``hold`` to ``stop``.

    ``on_lost`` is called on the event loop when other processes consider this one dead.
    """

    def __init__(self, seconds: float, renewal: float, on_lost: Callable[[], None]) -> None:
        self.seconds = seconds
        self.renewal = renewal
        self.worker_id: str | None = None
        """The worker whose lease this process holds."""
        self.alive_until = monotonic() + seconds
        """Until when no other process can end this one's memberships (``time.monotonic``).

        A renewal extends it, counted from when the renewal began. During an outage of the database,
        when no process can be declared dead, the event loop does. Once it has passed, this process
        was suspended, and others may have the seats of its peers.
        """
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._loop_ran_at = monotonic()
        self._trying_since: float | None = None
        self._attempt_at: float | None = None
        self._connection: Any = None
        self._has_stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = RareWarning(logger, "Lease not renewed: %r")
        self._hung = RareWarning(logger, "Lease not renewed: the event loop has not run for %.0f s")

    def hold(self, worker_id: str, *, begun_at: float) -> None:
        """Renew this lease from now on. ``begun_at``: ``monotonic`` before it was written."""
        self.worker_id = worker_id
        self.alive_until = begun_at + self.seconds
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="signalling-lease", daemon=True)
            self._thread.start()

    def release(self) -> None:
        """Forget the lease, which was lost."""
        self.worker_id = None
        self.alive_until = monotonic() + self.seconds

    def stop(self) -> None:
        """Stop renewing."""
        self._has_stopped.set()

    def check(self) -> bool:
        """Return whether the lease is still certain. The event loop calls this all the time."""
        now = monotonic()
        if now > self.alive_until:
            return False
        self._loop_ran_at = now
        if self._attempt_at is not None and now - self._attempt_at > HUNG_SECONDS:
            sever(getattr(self._connection, "connection", None))
        since = self._trying_since
        if self.worker_id is None or (since is not None and now - since > CHECK_SECONDS):
            self.alive_until = now + self.seconds
        return True

    def renew(self) -> None:
        """Renew the lease once. Blocking."""
        worker_id, begun_at = self.worker_id, monotonic()
        if worker_id is None or begun_at > self.alive_until:  # the event loop will notice
            return
        if begun_at - self._loop_ran_at > self.seconds:
            self._hung.log(begun_at - self._loop_ran_at)
            return
        if self._trying_since is None:
            self._trying_since = begun_at
        self._attempt_at = begun_at
        try:
            close_old_connections()
            with limited():
                is_renewed = leases.renew(worker_id)
        except Exception as error:
            if not outages.is_outage(error):  # a lock, of a process that considers this one dead
                self._trying_since = None
            self._failed.log(error)
            return
        finally:
            self._attempt_at = None
            close_old_connections()
        self._trying_since = None
        if is_renewed:  # a slow one may have begun before the event loop extended this
            self.alive_until = max(self.alive_until, begun_at + self.seconds)
        elif not self._has_stopped.is_set():
            self._loop.call_soon_threadsafe(self._lose, worker_id)

    def _run(self) -> None:
        self._connection = use_own_connection()
        try:
            self._renew_until_stopped()
        finally:
            connections.close_all()

    def _renew_until_stopped(self) -> None:
        due = monotonic() + self.renewal
        while not self._has_stopped.wait(max(due - monotonic(), 0)) and not self._loop.is_closed():
            due = monotonic() + self.renewal  # from the begin: after a slow renewal, at once
            self.renew()

    def _lose(self, worker_id: str) -> None:
        if worker_id == self.worker_id and not self._has_stopped.is_set():
            self._on_lost()
