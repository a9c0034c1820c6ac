"""A WebSocket consumer with its own receive loop and a bounded send queue.

For each message, Channels' ``await_many_dispatch`` and ``dispatch`` create two tasks and switch to
the one synchronous thread. Here a single loop reads the socket, and the channel layer calls
``deliver`` directly (``attach``). With a stock layer, one task reads the channel and calls
``deliver``. The site's other consumers are not affected.

These guarantees of Channels are kept; ``tests/signalling/transport/test_consumer.py`` tests each:

1. ``connect`` is called first. Frames are handled in order, and the next one is read only after the
   handler has returned, so a busy consumer stops reading.
2. ``disconnect`` is called once, with the close code, and ends the consumer.
3. However the consumer ends (disconnect, exception, cancellation), ``clean_up`` runs to completion,
   and no task is left.
4. Old database connections are closed around each ``database_sync_to_async``, which does so itself;
   handlers that do not use the database do not pay for it.
5. Channel-layer messages are handled one at a time, in order for each sender.

Two things differ. A channel-layer message does not wait for the frame that is being handled:
``deliver`` is a plain function, so a slow database call of one peer does not delay the messages to
it. And sending to a client never blocks the sender: see ``send_queue``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import get_handler_name
from channels.exceptions import ChannelFull, InvalidChannelLayerError, StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer

from .send_queue import Event, Overflow, SendQueue
from .subscription import ChannelSubscription

logger = logging.getLogger("signalling")

CLOSE_SECONDS = 5.0
"""How long an abandoned client has for the close handshake."""


class BoundedConsumer(AsyncJsonWebsocketConsumer):
    """A consumer for JSON frames. Subclasses override the methods under "For subclasses".

    ``outbound_frames``, ``outbound_bytes`` and ``stall_seconds`` bound the send queue of one client.
    """

    outbound_frames = 512
    outbound_bytes = 1024 * 1024
    stall_seconds = 30.0

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Event]],
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self.send_queue = SendQueue(
            send, self.outbound_frames, self.outbound_bytes, self.stall_seconds
        )
        self.base_send = self._put
        self._application = asyncio.current_task()
        self.is_abandoned = False
        self.channel_layer = self._get_channel_layer()
        self.subscription = ChannelSubscription(self.channel_layer, self._deliver)
        self.channel_name = ""
        self._owns_subscription = True
        self.prepare()
        try:
            await self.listen()
            await self.read(receive)
        except StopConsumer:
            pass
        except asyncio.CancelledError:
            if not self.is_abandoned:  # the server would log its own cancellation as an error
                raise
        finally:
            await self._end()

    # --- For subclasses -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Set up state that needs ``send_queue`` or ``subscription``.

        Called once, before any event.
        """

    def deliver(self, message: dict[str, Any]) -> None:
        """Handle a channel-layer message without blocking.

        May raise ``Overflow``; and ``ChannelFull``, which the sender of the message gets.
        """
        raise NotImplementedError

    async def clean_up(self) -> None:
        """Release all resources. Called once, at the end, and shielded from cancellation."""

    def delivery_failed(self, message_type: str) -> None:
        """Called when ``deliver`` raised an unexpected exception, within its ``except`` block."""
        logger.exception("Could not deliver a %s message of the channel layer", message_type)

    def overflowed(self) -> None:
        """Called when too much waits in the send queue: the client reads too slowly."""
        raise NotImplementedError

    # --- Receiving ----------------------------------------------------------------------------

    async def listen(self) -> None:
        """Subscribe to a new channel. ``channel_name`` is its name."""
        await self.subscription.open()
        self.channel_name = self.subscription.name

    async def read(self, receive: Callable[[], Awaitable[Event]]) -> None:
        """Handle the server's events one at a time, until the client has disconnected."""
        while True:
            event = await receive()
            try:
                if event["type"] == "websocket.receive":
                    await self.receive(event.get("text"), event.get("bytes"))
                else:
                    await getattr(self, get_handler_name(event))(event)
            except Overflow:
                self.overflowed()

    def release_subscription(self) -> None:
        """Keep the subscription open after the socket has closed. Its new owner closes it."""
        self._owns_subscription = False

    def _get_channel_layer(self) -> Any:
        try:
            return get_channel_layer(self.channel_layer_alias)
        except InvalidChannelLayerError:  # ``listen`` raises
            logger.exception("The channel layer is misconfigured")
            return None

    def _deliver(self, message: dict[str, Any]) -> None:
        try:
            self.deliver(message)
        except Overflow:
            self.overflowed()
        except ChannelFull:  # raised to the sender
            raise
        except Exception:
            self.delivery_failed(str(message.get("type")))

    # --- Sending and ending -------------------------------------------------------------------

    async def _put(self, event: Event) -> None:
        self.send_queue.put(event)

    def abandon(self) -> None:
        """End the consumer after ``CLOSE_SECONDS``, even if the client reads no close frame."""

        def end() -> None:
            if self._application is not None:
                self.is_abandoned = True
                self._application.cancel()

        asyncio.get_running_loop().call_later(CLOSE_SECONDS, end)

    async def _end(self) -> None:
        """Run ``_finish`` to completion even if cancelled, as servers do when they stop."""
        finishing = asyncio.ensure_future(self._finish())
        cancellation: asyncio.CancelledError | None = None
        while not finishing.done():
            try:
                await asyncio.wait([finishing])
            except asyncio.CancelledError as error:
                cancellation = error
        finishing.result()
        if cancellation is not None:
            raise cancellation

    async def _finish(self) -> None:
        try:
            await self.clean_up()
        finally:
            if self._owns_subscription:
                await self.subscription.close()
            self.send_queue.cancel()
            await self.send_queue.drained()
