"""This serving process: its lease, its sockets, its detached peers, and its shutdown.

There is one ``WorkerProcess`` for each event loop, normally one per process. It starts with the
first socket, because Daphne has no ASGI lifespan. ``lease`` renews its lease in the background. At
every heartbeat, ``LEASE_RENEWAL`` seconds apart, it looks for revoked identities, reaps dead
workers, expires detached peers, flushes the queued writes and reconciles its sockets with the
database.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any

from channels.layers import get_channel_layer

from rooms import leases, resuming
from signalling import database, metrics, sfu
from signalling.conf import conf
from signalling.database import RowLocked, run_in_background_thread
from signalling.sfu import reconciler as sfu_reconciler
from signalling.transport.loops import PerLoop

from .gc import cycles
from .holders import Detached, Socket
from .lease import LeaseKeeper
from .pending import PendingWrites
from .reconciler import Reconciler
from .revocations import Revocations
from .suspensions import Suspensions

logger = logging.getLogger("signalling")

SETTLE_SECONDS = 0.5
"""How long messages to the previous channel of a resumed peer may be on their way."""
DRAIN_POLL_SECONDS = 0.05
STORE_SECONDS = 3.0
"""How long a stopping process stores held frames, at most plus the time of one call."""


class WorkerProcess:
    """The worker of one event loop. Get it with ``get_worker``."""

    def __init__(self) -> None:
        settings = conf()
        self.lease = LeaseKeeper(
            settings.lease_seconds,
            settings.lease_renewal,
            partial(self.fence, "other workers consider it dead"),
        )
        self.drain_seconds = settings.drain_seconds
        self.sockets: set[Socket] = set()
        self.detached: set[Detached] = set()
        self.pending = PendingWrites()
        self.is_draining = False
        self.reconciler = Reconciler(lambda: self.sockets, lambda: self.detached)
        self.suspensions = Suspensions(
            self.lease,
            fence=self.fence,
            check=lambda: self.reconciler.check_sockets(self.worker_id),
        )
        self._monitor = leases.LeaseMonitor(
            confirm_seconds=2 * self.lease.renewal,
            grace_seconds=3 * self.lease.renewal,
            memory_seconds=self.lease.seconds - self.lease.renewal,
        )
        self.revocations = Revocations(
            lambda: (*self.sockets, *self.detached), settings.lease_renewal
        )
        self._registering: asyncio.Future[str] | None = None
        self._draining: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        work = [self.suspensions.watch(), self._run_heartbeat(), self.revocations.run()]
        if sfu.configured():
            work.append(sfu_reconciler.run())
        self._tasks = [loop.create_task(task) for task in work]

    @contextmanager
    def serving(self, socket: Socket) -> Iterator[None]:
        """Count a socket among those that this process serves."""
        self.sockets.add(socket)
        if len(self.sockets) == 1:
            self.revocations.holders_changed()
        metrics.totals["sockets"] += 1
        cycles.socket_opened()
        try:
            yield
        finally:
            metrics.totals["sockets"] -= 1
            cycles.socket_closed(metrics.totals["sockets"])
            self.sockets.discard(socket)
            if not self.sockets:
                self.revocations.holders_changed()

    # --- The lease ----------------------------------------------------------------------------

    @property
    def worker_id(self) -> str | None:
        """The id of this worker in the database, while it holds a lease."""
        return self.lease.worker_id

    async def register(self) -> str:
        """Return the id of this worker, which is registered in the database at the first call."""
        if self.worker_id is None:
            if self._registering is None:
                self._registering = asyncio.ensure_future(
                    run_in_background_thread(leases.register_worker)()
                )
                has_registered = partial(self._has_registered, monotonic())
                self._registering.add_done_callback(has_registered)
            return await asyncio.shield(self._registering)
        return self.worker_id

    def _has_registered(self, begun_at: float, registering: asyncio.Future[str]) -> None:
        self._registering = None
        if not registering.cancelled() and registering.exception() is None:
            self.lease.hold(registering.result(), begun_at=begun_at)

    def fence(self, reason: str = "it was suspended for longer than its lease") -> None:
        """Close all sockets, before any frame is handled: other peers may have their seats."""
        logger.warning("Closing all sockets of this process: %s", reason)
        self.lease.release()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for socket in tuple(self.sockets):
            try:
                socket.close_for_drain()
            except Exception:  # close the others
                logger.exception("A socket could not be closed")

    # --- The heartbeat ------------------------------------------------------------------------

    async def _run_heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.lease.renewal)
            try:
                await self.heartbeat()
            except RowLocked as error:  # no outage: the leases of others count
                logger.warning("The heartbeat was stopped by a lock: %s", error)
            except database.DATABASE_UNAVAILABLE as error:
                self._monitor.reset()
                logger.warning("Database unavailable: %s", error)
            except Exception:
                logger.exception("The heartbeat failed")

    async def heartbeat(self) -> None:
        """Do the periodic work once. Raises ``DATABASE_UNAVAILABLE``."""
        begun = monotonic()
        found = await run_in_background_thread(leases.read_all)()
        if monotonic() - begun > self.lease.seconds / 2:
            # The database was slow. Leases of other workers may have expired for the same reason.
            self._monitor.reset()
        await self.pending.flush()
        dead = self._monitor.find_dead(found)
        for lease in (each for each in dead if each.worker_id != self.worker_id):
            ended = await run_in_background_thread(leases.reap)(lease)
            if ended:
                logger.warning("Reaped dead worker %s with %d peers", lease.worker_id, ended)
        await run_in_background_thread(resuming.end_expired)()
        await self.reconciler.reconcile(self.worker_id)
        await self.revocations.sweep()

    # --- Shutdown -----------------------------------------------------------------------------

    async def drain(self) -> None:
        """Move all peers to other workers and retire. May be called more than once."""
        await asyncio.shield(self.begin_drain())

    def begin_drain(self) -> asyncio.Task[None]:
        """Close all sockets now; return the task that completes the shutdown."""
        if self._draining is None:
            self.is_draining = True
            logger.info("Draining %d sockets", len(self.sockets))
            self._close_sockets()
            self._draining = asyncio.create_task(self._drain())
        return self._draining

    async def _drain(self) -> None:
        deadline = monotonic() + self.drain_seconds
        while (self.sockets or self.detached) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        await _attempt("retire this worker", self._retire())
        for task in self._tasks:
            task.cancel()
        await sfu.get_sfus().close()
        logger.info("Drained")

    async def _retire(self) -> None:
        """Persist the held frames, so that any worker can deliver them, then end the lease.

        A step that fails does not prevent the others.
        """
        remaining = tuple(self.detached)
        deadline = monotonic() + STORE_SECONDS
        for peer in remaining:
            peer.stop_holding()
            if monotonic() < deadline:
                await _attempt(f"store the frames held for {peer.peer_id}", _store(peer))
            else:
                logger.warning("No time to store the frames held for %s", peer.peer_id)
        await _attempt("write the queued writes", self.pending.flush())
        self.lease.stop()
        if self.worker_id is not None:
            retired = run_in_background_thread(leases.retire)(self.worker_id)
            await _attempt("retire this worker in the database", retired)
        # A socket that resumed a moment ago may still ask for its frames.
        await asyncio.sleep(SETTLE_SECONDS)
        for peer in remaining:
            peer.end()
        await _attempt("report what arrived last", _finish_receiving())


async def _store(peer: Detached) -> None:
    store = run_in_background_thread(resuming.store_held)
    if await store(peer.peer_id, epoch=peer.epoch, held=peer.state()):
        peer.forget_held()


async def _finish_receiving() -> None:
    """Let the channel layer report the relays that Redis has accepted and no peer will get."""
    finish = getattr(get_channel_layer(), "finish", None)  # ours for several processes
    if finish is not None:
        await finish()


async def _attempt(step: str, work: Awaitable[object]) -> None:
    """Await a step of the shutdown. If it fails, log that and go on."""
    try:
        await work
    except Exception as error:
        logger.warning("Could not %s: %r", step, error)


def _drain_before_twisted_stops(worker: WorkerProcess) -> None:
    """Drain at the shutdown of Daphne's reactor, which does not notify applications."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None or not reactor.running:
        return
    from twisted.internet.defer import Deferred

    def drain() -> Any:
        return Deferred.fromFuture(asyncio.ensure_future(worker.drain()))

    reactor.addSystemEventTrigger("before", "shutdown", drain)


def _make_worker() -> WorkerProcess:
    worker = WorkerProcess()
    _drain_before_twisted_stops(worker)
    return worker


_workers = PerLoop(_make_worker)


def get_worker() -> WorkerProcess:
    """Return the worker of the running event loop."""
    return _workers.get()


def is_draining() -> bool:
    """Return whether this process is shutting down."""
    return any(worker.is_draining for worker in _workers.of_open_loops())
