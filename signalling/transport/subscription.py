"""A subscription to one channel of the channel layer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from channels.exceptions import ChannelFull, InvalidChannelLayerError

logger = logging.getLogger("signalling")

Message = dict[str, Any]
Deliver = Callable[[Message], None]


class ChannelSubscription:
    """Calls ``deliver`` with each message of a channel, from ``open`` to ``close``.

    A layer with ``attach`` calls it in the sender's turn of the event loop, and the sender gets its
    exceptions. For a stock layer one task reads the channel, and exceptions are logged.
    """

    def __init__(self, layer: Any, deliver: Deliver) -> None:
        self.layer = layer
        self.deliver = deliver
        self.name = ""
        self._reader: asyncio.Task[None] | None = None
        self._last_send: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create the channel and start to receive.

        Raises ``InvalidChannelLayerError`` without a layer, and what its ``new_channel`` raises.
        """
        if self.layer is None:
            raise InvalidChannelLayerError("No channel layer is configured.")
        self.name = await self.layer.new_channel()
        if hasattr(self.layer, "attach"):
            self.layer.attach(self.name, self.deliver)
        else:
            self._reader = asyncio.create_task(self._read_channel())

    def pass_to(self, deliver: Deliver) -> None:
        """Call another function with all further messages."""
        self.deliver = deliver
        if self._reader is None:
            self.layer.attach(self.name, deliver)

    def send(self, channel: str, message: Message) -> None:
        """Send a message to another channel without waiting, in the order of the calls.

        Raises ``ChannelFull`` with our layers. With a stock layer a task sends it, and logs errors.
        """
        if hasattr(self.layer, "put"):
            self.layer.put(channel, message)
            return
        before, work = self._last_send, self.layer.send(channel, message)
        self._last_send = asyncio.create_task(_after(before, work))

    async def close(self) -> None:
        """Stop receiving. Our layers raise ``ChannelGone`` for later messages to the channel."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        elif self.name and hasattr(self.layer, "detach"):
            self.layer.detach(self.name)

    async def _read_channel(self) -> None:
        """Read the channel of a stock layer.

        Retries after errors: an outage does not close the socket.
        """
        wait = 0.05
        while True:
            try:
                message = await self.layer.receive(self.name)
                wait = 0.05
            except Exception as error:
                logger.warning(
                    "Channel layer unavailable, retrying: %s: %s", type(error).__name__, error
                )
                await asyncio.sleep(wait)
                wait = min(2 * wait, 1.0)
                continue
            try:
                self.deliver(message)
            except ChannelFull:  # cannot be raised in the sender
                await self._refuse(message)
            except Exception as error:
                logger.warning("Could not deliver a message: %r", error)

    async def _refuse(self, message: Message) -> None:
        """Notify the sender of a message as ``RedisChannelLayer`` does."""
        refused = {"type": "channel.refused", "channel": self.name}
        try:
            if message.get("reply_channel"):
                await self.layer.send(message["reply_channel"], refused)
        except Exception as error:
            logger.warning("Could not notify the sender of a refused message: %r", error)


async def _after(before: asyncio.Task[None] | None, work: Any) -> None:
    if before is not None:
        await asyncio.wait([before])
    try:
        await work
    except Exception as error:
        logger.warning("Could not forward a message: %r", error)
