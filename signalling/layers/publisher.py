"""Publishes messages for other processes on one Redis host."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgpack
from channels.exceptions import ChannelFull

from .batches import Batch, BatchQueue, Reply, Waiter
from .connections import ALL, dedicated_connection
from .exceptions import Undeliverable
from .namespaces import Namespace
from .tasks import BackgroundTasks

logger = logging.getLogger("signalling.pubsub")

HEARTBEAT = msgpack.packb(["beat"])
HEARTBEAT_SECONDS = 2.0
REMEMBERED_SECONDS = 10.0
REMEMBERED_BATCHES = 20_000


class Publisher:
    """Collects the messages of a loop turn and publishes them with one write.

    ``on_lost(sender, channel)`` is called for each message with a ``reply_channel`` that was lost
    and whose sender does not wait.
    """

    def __init__(
        self,
        options: dict[str, Any],
        *,
        process_id: str,
        namespaces: Sequence[Namespace],
        timeout: float,
        buffer_bytes: int,
        on_lost: Callable[[str, str], None],
    ) -> None:
        self._process_id = process_id
        self._namespaces = namespaces
        self._timeout = timeout
        self._on_lost = on_lost
        # One timeout around a whole exchange is cheaper than redis-py's own around each of its
        # parts.
        self._connection = dedicated_connection(options)
        self._queue = BatchQueue(buffer_bytes)
        self._is_flushing = False
        self._is_down = False
        self._expects_echo = False
        self._numbers: dict[str, int] = {}
        """The number of the last batch for each target."""
        self._sent_at: dict[str, float] = {}
        """When the last batch with replies was published for each target."""
        self._remembered: deque[tuple[float, str, int, list[Reply]]] = deque()
        self._tasks = BackgroundTasks()

    def start(self, *, is_own_host: bool) -> None:
        """Begin to send heartbeats.

        ``is_own_host``: this process is subscribed on the same host.
        """
        self._expects_echo = is_own_host
        self._tasks.start(self._send_heartbeats())

    async def close(self) -> None:
        """Fail what waits with ``Undeliverable``, and disconnect."""
        await self._tasks.cancel()
        self._failed(self._queue.take(), Undeliverable("the layer was closed"))
        await self._connection.disconnect()

    # --- Sending ----------------------------------------------------------------------------------

    def post(self, target: str, item: bytes, reply: Reply | None = None) -> None:
        """Publish a packed message without waiting. Raises ``ChannelFull``."""
        batch = self._add(target, item)
        if reply is not None:
            batch.replies.append(reply)
            batch.unawaited.append(reply)

    def send(self, target: str, item: bytes, reply: Reply | None = None) -> Waiter:
        """Publish a packed message and return a future, which may raise ``Undeliverable``.

        Raises ``ChannelFull``.
        """
        batch = self._add(target, item)
        if reply is not None:
            batch.replies.append(reply)
        waiter = asyncio.get_running_loop().create_future()
        batch.waiters.append(waiter)
        return waiter

    def send_heartbeat(self) -> None:
        """Publish an empty batch to all processes, and to those that were sent something recently.

        Receivers find gaps in the numbers by it; this process checks its own subscription.
        """
        now = time.monotonic()
        for target, sent_at in tuple(self._sent_at.items()):
            if sent_at < now - REMEMBERED_SECONDS:
                del self._sent_at[target]
        for target in (ALL, *self._sent_at):
            with suppress(ChannelFull):
                self.post(target, HEARTBEAT)

    def report_lost(self, target: str, first: int, last: int) -> None:
        """Call ``on_lost`` for the batches ``first`` to ``last`` of ``target``."""
        for _, remembered_target, number, replies in self._remembered:
            if remembered_target == target and first <= number <= last:
                for sender, channel in replies:
                    self._on_lost(sender, channel)

    # --- Publishing -------------------------------------------------------------------------------

    def _add(self, target: str, item: bytes) -> Batch:
        batch = self._queue.add(target, item)
        if not self._is_flushing:
            self._is_flushing = True
            # The task runs in the next turn of the loop: it publishes all that this turn still
            # adds.
            self._tasks.start(self._flush())
        return batch

    async def _flush(self) -> None:
        try:
            while batches := self._queue.take():
                await self._publish(batches)
        finally:
            self._is_flushing = False

    async def _publish(self, batches: list[Batch]) -> None:
        commands = []
        for batch in batches:
            number = self._numbers[batch.target] = self._numbers.get(batch.target, 0) + 1
            head = msgpack.packb((self._process_id, number, int(time.time())))
            body = head + b"".join(batch.items)
            for namespace in self._namespaces:
                name = namespace.channel(batch.target)
                commands.append((b"PUBLISH", name, namespace.seal(name, body)))
            self._remember(batch, number)
        try:
            receivers = await self._exchange(commands)
        except asyncio.CancelledError:
            self._failed(batches, Undeliverable("the layer was closed"))
            raise
        except Exception as error:  # any error: no sender may be left waiting
            if not self._is_down:  # log once for each outage, not for each batch
                logger.warning(
                    "Redis unavailable, messages are lost: %s: %s", type(error).__name__, error
                )
            self._is_down = True
            self._failed(batches, Undeliverable(str(error)))
            return
        if self._is_down:
            logger.warning("Redis available again")
        self._is_down = False
        copies = len(self._namespaces)
        for index, batch in enumerate(batches):
            is_received = any(receivers[index * copies : (index + 1) * copies])
            # A message to all needs no receiver, except where this process is subscribed itself.
            if is_received or (batch.target == ALL and not self._expects_echo):
                batch.published()
            else:
                self._failed([batch], Undeliverable(f"no process is subscribed to {batch.target}"))
                if self._numbers[batch.target] == 1:  # it may never exist: keep nothing about it
                    del self._numbers[batch.target]

    async def _exchange(self, commands: list[tuple[bytes, str, bytes]]) -> list[int]:
        """Publish with one write, and return the number of receivers for each command."""
        connection = self._connection
        try:
            async with asyncio.timeout(self._timeout):
                packed = connection.pack_commands(commands)
                await connection.send_packed_command(packed, check_health=False)
                return [await connection.read_response() for _ in commands]
        except BaseException:
            # A late reply would be taken for the reply to the next command.
            await connection.disconnect(nowait=True)
            raise

    def _failed(self, batches: list[Batch], error: Exception) -> None:
        for batch in batches:
            for sender, channel in batch.failed(error):
                self._on_lost(sender, channel)

    def _remember(self, batch: Batch, number: int) -> None:
        now = time.monotonic()
        if batch.replies:
            self._remembered.append((now, batch.target, number, batch.replies))
            self._sent_at[batch.target] = now
        while self._remembered and (
            self._remembered[0][0] < now - REMEMBERED_SECONDS
            or len(self._remembered) > REMEMBERED_BATCHES
        ):
            self._remembered.popleft()

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self.send_heartbeat()
