"""Batches: the messages of one turn of the event loop to one target, published together."""

from __future__ import annotations

import asyncio

from channels.exceptions import ChannelFull

from .connections import ALL

Waiter = asyncio.Future[None]
Reply = tuple[str, str]
"""The sender's channel, and the channel that the message is for."""


class Batch:
    """Packed messages to one target: a process id or ``ALL``."""

    __slots__ = ("items", "replies", "target", "unawaited", "waiters")

    def __init__(self, target: str) -> None:
        self.target = target
        self.items: list[bytes] = []
        self.replies: list[Reply] = []
        self.unawaited: list[Reply] = []
        """The ``replies`` whose senders do not wait for the PUBLISH."""
        self.waiters: list[Waiter] = []

    def published(self) -> None:
        """Resume the senders that wait."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def failed(self, error: Exception) -> list[Reply]:
        """Raise ``error`` in the senders that wait, and return the replies of the others.

        Clears ``replies``, so that the gap in the numbers does not report the batch again.
        """
        self.replies.clear()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)
        return self.unawaited


class BatchQueue:
    """Batches that wait to be published, in order and bounded by ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._batches: list[Batch] = []
        self._open: dict[str, Batch] = {}
        self._size = 0

    def add(self, target: str, item: bytes) -> Batch:
        """Add a packed message and return its batch. Raises ``ChannelFull`` beyond the bound."""
        if self._size + len(item) > self.max_bytes:
            raise ChannelFull("too many bytes wait for Redis")
        self._size += len(item)
        batch = self._batch(target)
        batch.items.append(item)
        return batch

    def take(self) -> list[Batch]:
        """Return all batches and empty the queue."""
        batches, self._batches, self._open, self._size = self._batches, [], {}, 0
        return batches

    def _batch(self, target: str) -> Batch:
        batch = self._open.get(target)
        if batch is not None and (target != ALL or self._batches[-1] is batch):
            return batch
        if target == ALL:
            # Keep the order: nothing after this message may join a batch from before it.
            self._open.clear()
        batch = self._open[target] = Batch(target)
        self._batches.append(batch)
        return batch
