"""Daphne with flow control: ``python -m signalling.servers.daphne``, with Daphne's options.

Stock Daphne reads as fast as a client sends, and buffers as much as an application writes. This
server differs in the following:

- Reading from a client pauses while too many frames wait for its consumer.
- ``send`` waits while the client does not read, so that consumers can bound their send queues.
- The connection of a client that does not read its close frame is aborted once its consumer has
  ended.
- Violations of the WebSocket protocol are answered with a close code (1002, 1007, 1009) instead of
  a dropped connection.
- When the server stops, it first closes its sockets with 4503, so that clients resume elsewhere.
- The defaults suit signalling: frames of at most 64 KiB, and no maximum duration of a connection.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

try:  # before the import of Daphne, which creates the event loop
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
except ImportError:  # asyncio's own loop is slower, with the same behaviour
    pass

from daphne.cli import CommandLineInterface as DaphneCommandLineInterface
from daphne.server import Server as DaphneServer
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Connection

from signalling.worker.gc import cycles

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

FRAMES_WAITING = 64  # for a busy consumer, before reading pauses
FRAME_BYTES = 64 * 1024
PING_SECONDS = 20  # until the answer to a ping; Daphne sends one every 20 s
CLOSE_SECONDS = 5  # until the answer to a close frame, before the connection is dropped


class WriteFlowControl:
    """Follows the state of the transport's write buffer (Twisted's ``IPushProducer``)."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.can_write = asyncio.Event()
        self.can_write.set()

    def pauseProducing(self) -> None:  # noqa: N802
        self.can_write.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self.can_write.set()
        if self.transport.disconnecting:
            self.transport.startWriting()  # otherwise a pending close would never finish

    def stopProducing(self) -> None:  # noqa: N802
        self.can_write.set()


def _is_buffering(transport: Any) -> bool:
    """Return whether a transport has unsent data, or cannot be written to."""
    return bool(
        transport.dataBuffer
        or transport._tempDataLen
        or transport.disconnecting
        or not transport.connected
    )


class BoundedProtocol(WebSocketProtocol):
    """A WebSocket with flow control in both directions."""

    is_paused = False
    is_plain = False

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        # The HTTP channel of the handshake is still registered.
        self.transport.unregisterProducer()
        self.flow_control = WriteFlowControl(self.transport)
        self.is_plain = isinstance(self.transport, Connection) and not self.transport.TLS
        self.transport.registerProducer(self.flow_control, True)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        # autobahn's method formats a debug message for each read, whatever the log level.
        self._dataReceived(data)

    def sendData(  # noqa: N802
        self, data: bytes, sync: bool = False, chopsize: int | None = None
    ) -> None:
        """Write immediately if nothing is buffered: this saves a turn of the reactor per frame."""
        transport = self.transport
        if self.is_plain and not sync and not self.send_queue and not _is_buffering(transport):
            written = transport.writeSomeData(data)
            if not isinstance(written, int):  # connection lost; super().sendData handles it
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
        self.flow_control.stopProducing()
        super().onClose(wasClean, code, reason)

    def application_ended(self) -> None:
        """Abort the connection if the client does not read: it would stay open forever."""
        if not self.flow_control.can_write.is_set():
            self.transport.abortConnection()

    def wrap(self, send: Send) -> tuple[Receive, Send]:
        """Return ``receive`` and ``send`` of the application, with flow control."""
        self.receive_queue: asyncio.Queue[Event] = asyncio.Queue()

        async def bounded_receive() -> Event:
            event = await self.receive_queue.get()
            if self.is_paused and self.application_queue.qsize() <= FRAMES_WAITING // 2:
                self.is_paused = False
                self.transport.resumeProducing()
            return event

        async def bounded_send(event: Event) -> None:
            if event["type"] == "websocket.send" and not self.flow_control.can_write.is_set():
                await self.flow_control.can_write.wait()
            await send(event)

        return bounded_receive, bounded_send


class Server(DaphneServer):
    """Daphne's server with ``BoundedProtocol``."""

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(
            self._with_flow_control(application), ready_callable=self._configure, **options
        )

    def create_application(self, protocol: Any, scope: Event) -> Any:
        self._creating = protocol  # the application is called before this method returns
        queue = super().create_application(protocol, scope)
        return (
            protocol.receive_queue if queue is not None and scope["type"] == "websocket" else queue
        )

    def _with_flow_control(self, application: Any) -> Any:
        async def run(protocol: BoundedProtocol, running: Awaitable[None]) -> None:
            try:
                await running
            finally:
                protocol.application_ended()

        def wrapped(scope: Event, receive: Receive, send: Send) -> Any:
            if scope["type"] != "websocket":
                return application(scope, receive, send)
            protocol = self._creating
            receive, send = protocol.wrap(send)
            return run(protocol, application(scope, receive, send))

        return wrapped

    def kill_all_applications(self) -> Any:
        """Drain the sockets of signalling first.

        Stock Daphne cancels them without a close frame.
        """
        # Imported late: needs the app registry, which the application has set up by now.
        from signalling.worker import process

        draining = asyncio.ensure_future(process.get_worker().drain())
        return Deferred.fromFuture(draining).addCallback(lambda _: self._cancel_remaining())

    def _cancel_remaining(self) -> Any:
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
        # A slow client needs time to read its close frame.
        self.ws_factory.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=CLOSE_SECONDS)


class CommandLineInterface(DaphneCommandLineInterface):
    """The options of ``daphne`` with other defaults."""

    description = "Django HTTP/WebSocket server with flow control for signalling"
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
