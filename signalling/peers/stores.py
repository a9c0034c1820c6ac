"""Calls of one socket to the database and the channel layer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from channels.exceptions import ChannelFull

from rooms.guessing import guess
from rooms.logs import RareWarning, describe
from rooms.services import Joined
from signalling import database
from signalling.auth import revocation
from signalling.auth.identity import Identity
from signalling.layers import ChannelGone, Undeliverable
from signalling.protocol import ProtocolError, errors
from signalling.transport.subscription import ChannelSubscription
from signalling.worker.pending import PendingWrites

from .messages import Announcement, Message, RosterChange, room_group

logger = logging.getLogger("signalling")

_queued = RareWarning(logger, "Database unavailable, write queued: %s")

P = ParamSpec("P")
T = TypeVar("T")
Announce = Callable[[int], RosterChange]
"""Returns the announcement of a change, from the version of the roster after it."""


class Stores:
    """Calls the stores for one socket.

    Database calls run to their end even if the socket closes. Failures of the channel layer are
    raised as ``ProtocolError``.
    """

    def __init__(self, subscription: ChannelSubscription, pending: PendingWrites) -> None:
        self._layer = subscription.layer
        self._subscription = subscription
        self._pending = pending
        self._put: Any = getattr(self._layer, "put", None)
        self.can_put = self._put is not None
        """Whether the layer can send without waiting, and reports losses by itself."""
        self._running: asyncio.Future[Any] | None = None
        self._room: str | None = None  # that the socket joined last
        self._surroundings = database.current()  # other tasks call this, too

    @property
    def channel_name(self) -> str:
        return self._subscription.name

    # --- The database -------------------------------------------------------------------------

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` in a database thread, to its end even if the caller is cancelled."""
        return await self.shield(self._sync(function)(*args, **kwargs))

    def _sync(self, function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        return database.database_sync(function, room=self._room, surroundings=self._surroundings)

    async def shield(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``, which goes on if the caller is cancelled; ``settled`` waits for it."""
        running = self._running = asyncio.ensure_future(work)
        return await asyncio.shield(running)

    async def seat(
        self,
        adopt: Callable[[Joined], None],
        identity: Identity,
        service: Callable[..., Joined],
        **arguments: Any,
    ) -> Joined:
        """Run a service that takes a seat, as a guess at a room code; pass its result to ``adopt``.

        The same database call reads the user of ``identity`` again.

        Both complete even if the socket closes, so that its clean-up knows which seat to free.
        """

        async def take() -> Joined:
            perform: Any = self._sync(revocation.perform)
            joined: Joined = await perform(identity, guess, service, **arguments)
            adopt(joined)
            return joined

        return await self.shield(take())

    @property
    def is_busy(self) -> bool:
        """Whether a database call is running, which may take a seat or give it up."""
        return self._running is not None and not self._running.done()

    async def settled(self) -> None:
        """Wait for the running call: a join may commit after its caller was cancelled."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def record(
        self, announce: Announce, function: Callable[P, int], *args: P.args, **kwargs: P.kwargs
    ) -> bool:
        """Write a change of the roster and publish ``announce(version)``; see ``peers.port``."""
        try:
            version = await self.database(function, *args, **kwargs)
        except database.DATABASE_UNAVAILABLE as error:
            _queued.log(error)
            late = self._sync(function)
            self._pending.add(partial(self._record_late, announce, partial(late, *args, **kwargs)))
            await self.publish(announce(0))
            return True
        if version:
            await self.publish(announce(version))
        return bool(version)

    async def _record_late(
        self, announce: Announce, write: Callable[[], Coroutine[Any, Any, int]]
    ) -> None:
        """Write a change that was announced before, and announce it again with its version."""
        version = await write()
        if version:
            await self.publish(announce(version))

    # --- The channel layer --------------------------------------------------------------------

    async def subscribe(self, room_code: str) -> None:
        """Receive what is published to a room. Later database calls take turns with its others."""
        self._room = room_code
        await self._call(self._layer.group_add(room_group(room_code), self.channel_name))

    async def unsubscribe(self, room_code: str) -> None:
        """Stop receiving what is published to a room."""
        await self._call(self._layer.group_discard(room_group(room_code), self.channel_name))

    async def publish(self, message: RosterChange | Announcement) -> None:
        """Send a message to all peers of a room, in the order of the calls.

        While the layer is unavailable a roster change is only logged: every worker reads its
        rosters from the database when the layer returns. Other announcements raise.
        """
        try:
            await self._call(self._layer.group_send(room_group(message["room"]), message))
        except LayerUnavailable:
            if message["type"] == "signalling.announcement":
                raise
            logger.warning(
                "Channel layer unavailable, announcement delayed: %s %s",
                message["peer_id"],
                message["change"],
            )

    async def send(self, channel: str, message: Message) -> None:
        """Send to one channel and wait until the layer has taken the message."""
        await self._call(self._layer.send(channel, message))

    def put(self, channel: str, message: Message) -> None:
        """Send to one channel without waiting; only if ``can_put``."""
        try:
            self._put(channel, message)
        except ChannelFull as error:
            raise layer_error(error) from error

    def forward(self, channel: str, message: Message) -> None:
        """Send to one channel without waiting, with any layer. Losses are not reported."""
        try:
            self._subscription.send(channel, dict(message))
        except ChannelFull as error:
            raise layer_error(error) from error

    async def _call(self, call: Coroutine[Any, Any, None]) -> None:
        try:
            await call
        except Exception as error:
            raise layer_error(error) from error


class LayerUnavailable(ProtocolError):
    """The channel layer is unavailable; all workers refresh their rosters when it returns."""

    def __init__(self) -> None:
        error = errors.unavailable()
        super().__init__(error.code, error.message, **error.details)


def layer_error(error: Exception) -> ProtocolError:
    """Return the ``ProtocolError`` for a failed call of the channel layer."""
    match error:
        case ChannelGone():
            return errors.peer_not_found()
        case ChannelFull():
            return errors.peer_busy()
        case Undeliverable():
            return LayerUnavailable()
    logger.warning("Channel layer unavailable: %s", describe(error))
    return errors.unavailable()
