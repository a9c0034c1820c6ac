"""The receive loop and the outbound queue of a WebSocket consumer that relays a lot.

Channels' own ``await_many_dispatch`` and ``dispatch`` make two tasks and a hop through the one sync
thread for each message. Here one loop reads the socket, and the channel layer calls the consumer's
``deliver`` directly (``attach``) or, with a stock layer, one task drains the channel into it. A host
site's other consumers are not affected.

What of Channels' guarantees is kept, each with a test in ``tests/signalling/test_direct.py``:

1. ``connect`` comes first; frames come in order, and the next one is read only when the handler of
   the last one has ended, so a busy consumer stops reading.
2. ``disconnect`` is called once, with the close code, and ends the consumer.
3. However the consumer ends (disconnect, exception, cancellation), ``clean_up`` is run to its end, and
   no task is left behind.
4. Old database connections are closed around each ``database_sync_to_async``, which does so itself;
   what touches no database does not pay for it.
5. Messages of the channel layer are handled one at a time, in the order of each sender.

What differs: a message of the channel layer does not wait for a frame that is being handled, hence
``deliver`` is a plain function, and a slow database call of a peer does not delay what it is sent. And
nobody who sends to a consumer waits for its client: see ``send_queue``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer

from .send_queue import Event, Overflow, SendQueue
from .subscription import ChannelSubscription

logger = logging.getLogger("signalling")

CLOSE_SECONDS = 5.0


class BoundedConsumer(AsyncJsonWebsocketConsumer):
    """A JSON consumer with a loop of its own. Subclasses write ``deliver`` and ``clean_up``."""

    outbound_frames = 512
    outbound_bytes = 1024 * 1024

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Event]],
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.scope = scope
        self.send_queue = SendQueue(send, self.outbound_frames, self.outbound_bytes)
        self.base_send = self._put
        self._application = asyncio.current_task()
        self.is_abandoned = False
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
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
            if not self.is_abandoned:  # a server that did not ask for it takes it for a bug
                raise
        finally:
            await self._end()

    # --- For subclasses -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Set up what needs ``send_queue`` or ``subscription``; called once, before any event."""

    def deliver(self, message: dict[str, Any]) -> None:
        """Handle a message of the channel layer, at once. ``Overflow`` is the only exception it lets go."""
        raise NotImplementedError

    async def clean_up(self) -> None:
        """Leave nothing behind; called once, at the end, shielded from cancellation."""

    def delivery_failed(self, message_type: str) -> None:
        """``deliver`` raised, which is a fault of ours."""
        logger.exception("a %s of the channel layer could not be delivered", message_type)

    def overflowed(self) -> None:
        """The client does not keep up with what it is sent."""
        raise NotImplementedError

    # --- In -----------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Get a channel, and begin to hear it."""
        await self.subscription.open()
        self.channel_name = self.subscription.name

    async def read(self, receive: Callable[[], Awaitable[Event]]) -> None:
        """Handle what the client sends, one event after the other, until it has gone."""
        while True:
            event = await receive()
            try:
                if event["type"] == "websocket.receive":
                    await self.receive(event.get("text"), event.get("bytes"))
                else:
                    await getattr(self, get_handler_name(event))(event)
            except Overflow:
                self.overflowed()

    def release_subscription(self) -> ChannelSubscription:
        """Return the channel, which is not closed with the socket then."""
        self._owns_subscription = False
        return self.subscription

    def _deliver(self, message: dict[str, Any]) -> None:
        try:
            self.deliver(message)
        except Overflow:
            self.overflowed()
        except Exception:
            self.delivery_failed(str(message.get("type")))

    # --- Out ----------------------------------------------------------------------------------

    async def _put(self, event: Event) -> None:
        self.send_queue.put(event)

    def abandon(self) -> None:
        """End the application where its client does not even take a close frame."""

        def end() -> None:
            if self._application is not None:
                self.is_abandoned = True
                self._application.cancel()

        asyncio.get_running_loop().call_later(CLOSE_SECONDS, end)

    async def _end(self) -> None:
        """Run to the end, however often it is cancelled: a server that stops is impatient."""
        last = asyncio.ensure_future(self._finish())
        interruption: asyncio.CancelledError | None = None
        while not last.done():
            try:
                await asyncio.wait([last])
            except asyncio.CancelledError as again:
                interruption = again
        last.result()
        if interruption is not None:
            raise interruption

    async def _finish(self) -> None:
        try:
            await self.clean_up()
        finally:
            if self._owns_subscription:
                await self.subscription.close()
            self.send_queue.cancel()
            await self.send_queue.drained()
