"""This process among the others: its lease, its sockets, its peers that are away, and its end.

One ``Presence`` an event loop; it begins with the first socket, for Daphne has no ASGI lifespan. Every
``lease_renewal`` seconds it beats: one UPDATE renews the lease, dead workers are reaped, the time of those
who were away for too long is ended, and what could not be written while the database was away is written.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from rooms import leases, resuming
from signalling import database, sfu
from signalling.conf import conf
from signalling.database import run_in_background_thread
from signalling.peers.detached import DetachedPeer
from signalling.sfu import reconciler

logger = logging.getLogger("signalling")

PULSE = 1.0  # seconds between two looks at the clock
SETTLE_SECONDS = 0.5  # for what is on its way to a peer that has just moved
DRAIN_LOOK_SECONDS = 0.05

Write = Callable[[], Awaitable[Any]]


class Socket(Protocol):
    """What a presence asks of a consumer."""

    def close_for_drain(self) -> None:
        """Tell the client to come back elsewhere, and close."""


class Presence:
    """See the module; ``here`` returns the one of the running loop."""

    def __init__(self) -> None:
        settings = conf()
        self.lease = settings.lease_seconds
        self.renewal = settings.lease_renewal
        self.drain_seconds = settings.drain_seconds
        self.worker_id: str | None = None
        self.sockets: set[Socket] = set()
        self.away: set[DetachedPeer] = set()
        self.is_draining = False
        self.alive_until = monotonic() + self.lease
        """Nothing is served after it: the process stood still for longer than its lease."""
        self._watch = leases.LeaseMonitor(
            confirm_seconds=2 * self.renewal, grace_seconds=2 * self.lease
        )
        self._unwritten: list[Write] = []
        self._enlisting: asyncio.Future[str] | None = None
        self._drained: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        work = [self._keep_pulse(), self._keep_beating()]
        if sfu.configured():
            work.append(reconciler.keep_up())
        self._tasks = [loop.create_task(task) for task in work]

    # --- The lease ----------------------------------------------------------------------------

    async def enlisted(self) -> str:
        """Return the id of this worker. Uses the database the first time."""
        if self.worker_id is None:
            if self._enlisting is None:
                self._enlisting = asyncio.ensure_future(
                    run_in_background_thread(leases.register_worker)()
                )
                self._enlisting.add_done_callback(self._has_enlisted)
            return await asyncio.shield(self._enlisting)
        return self.worker_id

    def _has_enlisted(self, enlisting: asyncio.Future[str]) -> None:
        self._enlisting = None
        if not enlisting.cancelled() and enlisting.exception() is None:
            self.worker_id = enlisting.result()

    def fence(self) -> None:
        """Close all sockets before anything is served: others may have given their seats away."""
        logger.warning("this process stood still for longer than its lease: closing its sockets")
        self.worker_id = None
        self.alive_until = monotonic() + self.lease
        for socket in tuple(self.sockets):
            socket.close_for_drain()

    async def _keep_pulse(self) -> None:
        while True:
            if monotonic() > self.alive_until:
                self.fence()
            self.alive_until = monotonic() + self.lease
            await asyncio.sleep(PULSE)

    # --- The beat -----------------------------------------------------------------------------

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self.renewal)
            try:
                await self.beat()
            except database.DATABASE_UNAVAILABLE as error:
                self._watch.reset()
                logger.warning("the lease was not renewed, the database is away: %s", error)
            except Exception:
                logger.exception("a beat failed")

    async def beat(self) -> None:
        """Renew, write, reap, expire; raises what the database raises where it is away."""
        begun = monotonic()
        if self.worker_id and not await run_in_background_thread(leases.renew)(self.worker_id):
            logger.warning("others took this process for dead: closing its sockets")
            self.fence()
        await self._write_what_was_not()
        found = await run_in_background_thread(leases.read_all)()
        if monotonic() - begun > self.renewal:
            # The database kept this process waiting. Others may be waiting still: their leases have
            # expired, but the processes are alive.
            self._watch.reset()
        for lease in self._watch.find_dead(found):
            ended = await run_in_background_thread(leases.reap)(lease)
            if ended:
                logger.warning("worker %s is dead; it had %d peers", lease.worker_id, ended)
        await run_in_background_thread(resuming.end_expired)()

    def remember(self, write: Write) -> None:
        """Have something written when the database is back."""
        self._unwritten.append(write)

    async def _write_what_was_not(self) -> None:
        while self._unwritten:
            write = self._unwritten[0]
            try:
                await write()
            except database.DATABASE_UNAVAILABLE:
                raise
            except Exception:
                logger.exception("what had waited for the database could not be written")
            self._unwritten.remove(write)

    # --- The end ------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Send everybody elsewhere, and leave nothing behind. May be asked more than once."""
        await asyncio.shield(self.begin_to_drain())

    def begin_to_drain(self) -> asyncio.Task[None]:
        """Have every socket told at once; return what ends when nothing is left."""
        if self._drained is None:
            self.is_draining = True
            logger.info("draining %d sockets", len(self.sockets))
            for socket in tuple(self.sockets):
                socket.close_for_drain()
            self._drained = asyncio.create_task(self._drain())
        return self._drained

    async def _drain(self) -> None:
        deadline = monotonic() + self.drain_seconds
        while (self.sockets or self.away) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        try:
            await self._leave_behind()
        except Exception as error:
            logger.warning("the end of this worker is not written down: %r", error)
        for task in self._tasks:
            task.cancel()
        await sfu.get_sfus().close()
        logger.info("drained")

    async def _leave_behind(self) -> None:
        """Write what is held where any worker finds it; then nobody is left who asks for this one."""
        store_held = run_in_background_thread(resuming.store_held)
        remaining = tuple(self.away)
        for away in remaining:
            away.stop_holding()
            membership = away.membership
            await store_held(membership.peer_id, epoch=membership.epoch, held=away.holds)
        await self._write_what_was_not()
        if self.worker_id is not None:
            await run_in_background_thread(leases.retire)(self.worker_id)
        await asyncio.sleep(
            SETTLE_SECONDS
        )  # who resumed just before may still ask, or be sent something
        for away in remaining:
            away.end()


def _drain_before_twisted_stops(presence: Presence) -> None:
    """Daphne tells an application nothing of its end; its reactor waits for whoever asks it to."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    if reactor is None or not reactor.running:
        return
    from twisted.internet.defer import Deferred

    def drain() -> Any:
        return Deferred.fromFuture(asyncio.ensure_future(presence.drain()))

    reactor.addSystemEventTrigger("before", "shutdown", drain)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Presence] = WeakKeyDictionary()


def get_worker() -> Presence:
    """Return the presence of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _by_loop.get(loop)
    if found is None:
        found = _by_loop[loop] = Presence()
        _drain_before_twisted_stops(found)
    return found


def is_draining() -> bool:
    """Tell whether this process is about to end."""
    return any(presence.is_draining for presence in tuple(_by_loop.values()))
