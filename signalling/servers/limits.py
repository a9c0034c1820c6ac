"""What both servers allow a client before the application sees it, and after it has ended.

The settings are keys of ``SIGNALLING``: see "Limits of the two servers" in docs/settings.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from http import HTTPStatus

from signalling.conf import SignallingSettings, conf

logger = logging.getLogger("signalling")

CLOSE_SECONDS = 5.0
"""How long a closed connection has to take what was sent to it, before it is aborted."""
ACCEPT_SECONDS = 20.0
"""How long the application has to accept a WebSocket on uvicorn. Daphne has an option for it."""
GRACE_SECONDS = 1.0
"""How long a connection may wait before it can be the victim of ``Deadlines.most``.

When many clients connect at the same time, a server accepts all of them before it reads from any.
"""
CONTROL_RATE, CONTROL_BURST = 10.0, 100.0
"""Pings and pongs that a client may send, per second and at once; with more, a close with 1008.

Browsers send none by themselves, and clients in other languages one in many seconds. They are the
only frames that no limit of the application counts.
"""
PIECE_BYTES = 4096
"""How much of one read is parsed at a time: small frames of a hostile client are many frames."""


class Deadlines:
    """Connections that have to do something within ``seconds``, such as to complete a request.

    ``expire`` of a connection is called when its time is up. If more than ``most`` connections wait,
    it is called for the one that has waited longest, unless that is less than ``GRACE_SECONDS``. An
    honest request arrives within that time, so slow connections only replace each other. All
    methods take constant time; one timer serves all connections.
    """

    def __init__(self, seconds: float, most: int | None = None) -> None:
        self.seconds = seconds
        self.most = most
        self._waiting: dict[object, tuple[float, Callable[[], None]]] = {}  # the oldest is first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, connection: object) -> bool:
        return connection in self._waiting

    def start(self, connection: object, expire: Callable[[], None]) -> None:
        """Start the time of a connection, or start it again."""
        loop = asyncio.get_running_loop()
        self._waiting.pop(connection, None)
        self._waiting[connection] = loop.time(), expire
        if self.most is not None and len(self._waiting) > self.most:
            self._expire_before(loop.time() - GRACE_SECONDS, keep=self.most)
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._check)

    def done(self, connection: object) -> None:
        """Stop the time of a connection, if it is running."""
        self._waiting.pop(connection, None)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        self._expire_before(loop.time() - self.seconds)
        self._timer = None
        if self._waiting:
            oldest, _ = next(iter(self._waiting.values()))
            self._timer = loop.call_at(oldest + self.seconds, self._check)

    def _expire_before(self, latest: float, *, keep: int = 0) -> None:
        while len(self._waiting) > keep:
            connection, (started, expire) = next(iter(self._waiting.items()))
            if started > latest:
                return
            del self._waiting[connection]
            try:
                expire()
            except Exception:  # the other connections must still expire
                logger.exception("Could not end a connection that was too slow")


class ServerLimits:
    """The limits of one process."""

    def __init__(self, settings: SignallingSettings) -> None:
        self.head_bytes = settings.head_bytes
        self.headers = settings.headers
        self.body_bytes = settings.body_bytes
        self.fragments = settings.fragments
        self.heads = Deadlines(settings.head_seconds, settings.pending_requests)
        self.bodies = Deadlines(settings.body_seconds, settings.pending_requests)
        self.accepts = Deadlines(ACCEPT_SECONDS)
        self.closes = Deadlines(CLOSE_SECONDS)


@cache
def limits() -> ServerLimits:
    """Return the limits of this process. The application must have set up Django."""
    return ServerLimits(conf())


def refusal(status: HTTPStatus) -> bytes:
    """Return a response without a body, after which the connection is closed."""
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    return f"{head}Connection: close\r\nContent-Length: 0\r\n\r\n".encode()
