"""A channel of the layer, and who is called with what comes there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("signalling")

Message = dict[str, Any]
Deliver = Callable[[Message], None]


class ChannelSubscription:
    """Hears one channel from ``open`` to ``close``; ``deliver`` may change hands meanwhile.

    A layer with ``attach`` calls it in the sender's own turn of the loop; for a stock layer one task
    drains the channel into it. What ``deliver`` raises reaches the sender of the first kind alone.
    """

    def __init__(self, layer: Any, deliver: Deliver) -> None:
        self.layer = layer
        self.deliver = deliver
        self.name = ""
        self._drain: asyncio.Task[None] | None = None
        self._last_send: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self.name = await self.layer.new_channel()
        if hasattr(self.layer, "attach"):
            self.layer.attach(self.name, self.deliver)
        else:
            self._drain = asyncio.create_task(self._drain_channel())

    def pass_to(self, deliver: Deliver) -> None:
        """Have somebody else called from now on."""
        self.deliver = deliver
        if self._drain is None:
            self.layer.attach(self.name, deliver)

    def send(self, channel: str, message: Message) -> None:
        """Send something to another channel, in the order of the calls; its failure is the caller's.

        With a stock layer the failure is logged instead: nothing there can wait.
        """
        if hasattr(self.layer, "put"):
            self.layer.put(channel, message)
            return
        before, work = self._last_send, self.layer.send(channel, message)
        self._last_send = asyncio.create_task(_after(before, work))

    async def close(self) -> None:
        """Hear no more; a send to the channel fails from now on, where the layer can tell."""
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.wait([self._drain])
        elif self.name and hasattr(self.layer, "detach"):
            self.layer.detach(self.name)

    async def _drain_channel(self) -> None:
        """A layer that fails closes no socket."""
        wait = 0.05
        while True:
            try:
                message = await self.layer.receive(self.name)
                wait = 0.05
            except Exception as error:
                logger.warning("the channel layer failed, trying again: %r", error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 1.0)
                continue
            try:
                self.deliver(message)
            except Exception as error:  # the sender cannot be told
                logger.warning("a message was refused: %r", error)


async def _after(before: asyncio.Task[None] | None, work: Any) -> None:
    if before is not None:
        await asyncio.wait([before])
    try:
        await work
    except Exception as error:
        logger.warning("a message could not be passed on: %r", error)
