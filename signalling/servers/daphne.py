"""Daphne with bounds: ``python -m signalling.servers.daphne``, with the options of ``daphne``.

Stock Daphne reads as fast as a client sends and buffers as much as an application writes. Here

- a consumer that is busy stops its client: reading pauses while too many frames wait for it;
- ``send`` waits while the client does not read, which is what lets a consumer bound its own queue;
- a client that does not even read the close frame is cut off once its consumer has ended;
- a violation of the WebSocket protocol is answered with its close code (1002, 1007, 1009) instead of
  a dropped connection;
- a server that stops sends its clients elsewhere, with 4503, before it goes;
- the defaults are those of signalling: frames of 64 KiB, no end to a call after a day.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

try:  # Daphne makes its loop while it is imported, so this comes first
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
except ImportError:  # a slower loop, and the same behaviour
    pass

from daphne.cli import CommandLineInterface as DaphneCommandLineInterface
from daphne.server import Server as DaphneServer
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Connection

from signalling.worker.gc import cycles

from .receive_queue import ReceiveQueue

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

FRAMES_WAITING = 64  # frames that wait for a busy consumer before its client is stopped
FRAME_BYTES = 64 * 1024
PING_SECONDS = 20  # for the answer to a ping, of which there is one every 20 s
CLOSE_SECONDS = 5  # for a client to answer a close frame, before its connection is dropped


class Writability:
    """What Twisted's transport tells of its write buffer (``IPushProducer``)."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.event = asyncio.Event()
        self.event.set()

    def pauseProducing(self) -> None:  # noqa: N802
        self.event.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self.event.set()
        if self.transport.disconnecting:
            self.transport.startWriting()  # or a close that waited for the buffer waits for ever

    def stopProducing(self) -> None:  # noqa: N802
        self.event.set()


def _waits(transport: Any) -> bool:
    """Tell whether anything waits in a transport's buffers, or may not be written any more."""
    return bool(
        transport.dataBuffer
        or transport._tempDataLen
        or transport.disconnecting
        or not transport.connected
    )


class BoundedProtocol(WebSocketProtocol):
    """One WebSocket, bounded both ways."""

    is_paused = False
    is_plain = False

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        # The HTTP channel that this connection was before has left itself there.
        self.transport.unregisterProducer()
        self.writability = Writability(self.transport)
        self.is_plain = isinstance(self.transport, Connection) and not self.transport.TLS
        self.transport.registerProducer(self.writability, True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        # autobahn's own composes a coloured debug line for each read, whatever the level of its log.
        self._dataReceived(data)

    def sendData(  # noqa: N802
        self, data: bytes, sync: bool = False, chopsize: int | None = None
    ) -> None:
        """Write at once where nothing waits, which spares the reactor a turn for each frame."""
        transport = self.transport
        if self.is_plain and not sync and not self.send_queue and not _waits(transport):
            written = transport.writeSomeData(data)
            if not isinstance(written, int):  # the connection is lost, as the reactor is told below
                written = 0
            data = data[written:]
        if data:
            super().sendData(data, sync, chopsize)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        super().onMessage(payload, isBinary)
        if not self.is_paused and self.application_queue.qsize() >= FRAMES_WAITING:
            self.is_paused = True
            self.transport.pauseProducing()

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:  # noqa: N802, N803
        self.writability.stopProducing()
        super().onClose(wasClean, code, reason)

    def application_ended(self) -> None:
        """Nobody would ever close the connection of a client that does not read."""
        if not self.writability.event.is_set():
            self.transport.abortConnection()

    def bound(self, send: Send) -> tuple[Receive, Send]:
        """Return the two ends of the application, with the bounds."""
        self.receive_queue = ReceiveQueue()

        async def bounded_receive() -> Event:
            event = await self.receive_queue.get()
            if self.is_paused and self.application_queue.qsize() <= FRAMES_WAITING // 2:
                self.is_paused = False
                self.transport.resumeProducing()
            return event

        async def bounded_send(event: Event) -> None:
            if event["type"] == "websocket.send" and not self.writability.event.is_set():
                await self.writability.event.wait()
            await send(event)

        return bounded_receive, bounded_send


class Server(DaphneServer):
    """Daphne's server with ``BoundedProtocol``."""

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(self._bound(application), ready_callable=self._configure, **options)

    def create_application(self, protocol: Any, scope: Event) -> Any:
        self._creating = protocol  # the application is called in this very turn
        queue = super().create_application(protocol, scope)
        return (
            protocol.receive_queue if queue is not None and scope["type"] == "websocket" else queue
        )

    def _bound(self, application: Any) -> Any:
        async def cut_off(protocol: BoundedProtocol, running: Awaitable[None]) -> None:
            try:
                await running
            finally:
                protocol.application_ended()

        def bounded(scope: Event, receive: Receive, send: Send) -> Any:
            if scope["type"] != "websocket":
                return application(scope, receive, send)
            protocol = self._creating
            receive, send = protocol.bound(send)
            return cut_off(protocol, application(scope, receive, send))

        return bounded

    def kill_all_applications(self) -> Any:
        """Send the sockets of signalling elsewhere first; stock Daphne cancels them without a word."""
        from signalling.worker import (
            process,  # which has models: they are there since the application is
        )

        draining = asyncio.ensure_future(process.get_worker().drain())
        return Deferred.fromFuture(draining).addCallback(lambda _: self._cancel_the_others())

    def _cancel_the_others(self) -> Any:
        running = [
            application
            for details in self.connections.values()
            if (application := details.get("application_instance")) and not application.done()
        ]
        for application in running:
            application.cancel()
        return Deferred.fromFuture(asyncio.gather(*running, return_exceptions=True))

    def _configure(self) -> None:
        self.ws_factory.protocol = BoundedProtocol
        # A client that was too slow needs a moment to read that it was.
        self.ws_factory.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=CLOSE_SECONDS)


class CommandLineInterface(DaphneCommandLineInterface):
    """The options of ``daphne``; only defaults differ."""

    description = "Django HTTP/WebSocket server with bounds for signalling"
    server_class = Server

    def __init__(self) -> None:
        super().__init__()
        self.parser.set_defaults(
            websocket_timeout=-1,
            ping_timeout=PING_SECONDS,
            websocket_max_message_size=FRAME_BYTES,
            websocket_max_frame_size=FRAME_BYTES,
        )

    @classmethod
    def entrypoint(cls) -> None:
        cls().run(sys.argv[1:])


if __name__ == "__main__":
    cycles.collect_rarely()
    CommandLineInterface.entrypoint()
