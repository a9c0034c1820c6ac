"""Daphne with flow control: ``python -m signalling.servers.daphne``, with Daphne's options.

Stock Daphne reads as fast as a client sends, and buffers as much as an application writes. This
server differs in the following:

- Reading from a client pauses while too many frames wait for its consumer.
- ``send`` waits while the client does not read, so that consumers can bound their send queues.
- The connection of a client that does not read its close frame is aborted once its consumer has
  ended.
- Violations of the WebSocket protocol are answered with a close code (1002, 1007, 1009) instead of
  a dropped connection.
- A client has a deadline for each request, and what it may send is limited: see ``limits``.
- No access token is logged.
- Only the option ``--root-path`` says where the site is mounted. Stock Daphne also takes the header
  ``Daphne-Root-Path``, which any client can send.
- When the server stops, it first closes its sockets with 4503, so that clients resume elsewhere.
- The defaults suit signalling: frames of at most 64 KiB, and no maximum duration of a connection.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any

from . import packages

if __name__ == "__main__":
    packages.require("daphne", "daphne")

try:  # before the import of Daphne, which creates the event loop
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
except ImportError:  # asyncio's own loop is slower, with the same behaviour
    pass

from daphne.cli import CommandLineInterface as DaphneCommandLineInterface
from daphne.server import Server as DaphneServer
from twisted.internet.defer import Deferred

from signalling.worker.gc import cycles

from . import descriptors
from .daphne_http import bounded_channel
from .daphne_websocket import BoundedProtocol, Event, Receive, Send
from .ending import SPARE_SECONDS, end_within
from .limits import CLOSE_SECONDS
from .proxies import OPTION, check_options
from .redaction import redact_logs, shorten

FRAME_BYTES = 64 * 1024
PING_SECONDS = 20  # until the answer to a ping; Daphne sends one every 20 s
DRAIN_MARGIN = 2.0
"""How much longer than ``DRAIN_SECONDS`` a drain may take, if it stores held frames."""
CANCEL_SECONDS = 2.0
"""How long applications may take to clean up after the drain."""
LOGGERS = ["daphne.cli", "daphne.http_protocol", "daphne.server", "daphne.ws_protocol"]


def notice_resets() -> None:
    """Let Twisted notice the connections whose reset uvloop does not report.

    When data and a reset arrive together, uvloop calls the reader once, which reads the data, and
    closes its poll handle. The connection would stay open forever. ``add_writer`` then raises
    ``RuntimeError``, and whatever happens next to the connection starts with a write.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    add_writer = reactor.addWriter

    def add_or_abort(writer: Any) -> None:
        try:
            add_writer(writer)
        except RuntimeError:
            if not hasattr(writer, "abortConnection"):
                raise
            writer.abortConnection()

    reactor.addWriter = add_or_abort


class Server(DaphneServer):
    """Daphne's server with ``BoundedChannel`` and ``BoundedProtocol``."""

    def __init__(self, application: Any, **options: Any) -> None:
        super().__init__(
            self._with_flow_control(application), ready_callable=self._configure, **options
        )

    def create_application(self, protocol: Any, scope: Event) -> Any:
        scope["root_path"] = self.root_path
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

        worker = process.get_worker()
        end_within(worker.drain_seconds + DRAIN_MARGIN + CANCEL_SECONDS + SPARE_SECONDS)
        draining = asyncio.ensure_future(worker.drain())
        return Deferred.fromFuture(draining).addCallback(lambda _: self._cancel_remaining())

    def _cancel_remaining(self) -> Any:
        running = [
            application
            for details in self.connections.values()
            if (application := details.get("application_instance")) and not application.done()
        ]
        for application in running:
            application.cancel()
        return Deferred.fromFuture(asyncio.ensure_future(_wait(running)))

    def log_action(self, protocol: str, action: str, details: Event) -> None:
        super().log_action(protocol, action, {**details, "path": shorten(details["path"])})

    def _configure(self) -> None:
        notice_resets()
        self.http_factory.protocol = bounded_channel
        self.ws_factory.protocol = BoundedProtocol
        # A slow client needs time to read its close frame.
        self.ws_factory.setProtocolOptions(failByDrop=False, closeHandshakeTimeout=CLOSE_SECONDS)


async def _wait(applications: list[asyncio.Future[Any]]) -> None:
    """Wait for the ends of applications, for a limited time: they may wait for a store."""
    if applications:
        await asyncio.wait(applications, timeout=CANCEL_SECONDS)


class CommandLineInterface(DaphneCommandLineInterface):
    """The options of ``daphne`` with other defaults."""

    description = "Daphne with bounds and defaults for signalling: see docs/deployment.md"
    server_class = Server

    def __init__(self) -> None:
        super().__init__()
        self.parser.prog = "python -m signalling.servers.daphne"
        self.parser.set_defaults(
            websocket_timeout=-1,
            ping_timeout=PING_SECONDS,
            websocket_max_message_size=FRAME_BYTES,
            websocket_max_frame_size=FRAME_BYTES,
        )

    def run(self, args: list[str]) -> None:
        if self.parser.parse_args(args).proxy_headers:
            check_options([OPTION])
        super().run(args)

    @classmethod
    def entrypoint(cls) -> None:
        cls().run(sys.argv[1:])


if __name__ == "__main__":
    redact_logs(LOGGERS)
    cycles.collect_rarely()
    descriptors.raise_limit()
    CommandLineInterface.entrypoint()
