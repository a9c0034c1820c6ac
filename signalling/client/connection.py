"""One WebSocket connection of a client; shared by ``signalling.client`` and ``signalling.testing``.

Does not need Django. ``websockets`` is imported when the first connection is opened.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from signalling.protocol import SUBPROTOCOL

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

Data = dict[str, Any]

ABNORMAL = 1006
"""The close code of a connection that ended without a close frame (RFC 6455, section 7.1.5)."""


class RequestRefused(Exception):
    """The server answered a request with an ``error`` event.

    ``code`` is its error code, ``details`` all of its data (PROTOCOL.md, "Error codes").
    """

    def __init__(self, event: str, error: Data) -> None:
        super().__init__(f"{event} was refused: {error}")
        self.code: str = error["code"]
        self.details = error


class ConnectionLost(Exception):
    """The connection was lost before the answer arrived.

    The server may have handled the request.
    """


async def open_socket(
    url: str, *, token: str | None = None, headers: Sequence[tuple[str, str]] = (), **options: Any
) -> ClientConnection:
    """Open a socket with the token in the ``Authorization`` header, and return it.

    The WebSocket pings of ``websockets`` are off: clients of signalling send ``ping`` events.
    ``options`` are passed to ``websockets.connect``, whose exceptions this raises; see
    ``backoff.is_transient``.
    """
    if token is not None:
        headers = [*headers, ("Authorization", f"Bearer {token}")]
    defaults = {
        "subprotocols": (SUBPROTOCOL,),
        "compression": None,
        "max_size": None,
        "close_timeout": 5.0,
        "ping_interval": None,
    }
    socket: ClientConnection = await websockets_package().connect(
        url, additional_headers=headers, **{**defaults, **options}
    )
    return socket


async def next_frame(socket: ClientConnection) -> str | None:
    """Return the next frame of a socket, ``None`` once it is closed."""
    try:
        return await socket.recv(decode=True)
    except websockets_package().ConnectionClosed:
        return None


class Connection:
    """One socket and its pending requests. A client that reconnects creates a new one."""

    def __init__(self, socket: ClientConnection, ids: Iterator[int]) -> None:
        self.socket = socket
        self.is_lost = False
        self.refusal: RequestRefused | None = None
        """The error for which the client closed this connection for good."""
        self.renewal: asyncio.Task[None] | None = None
        """Presents another token on this connection, and ends with it."""
        self._ids = ids
        self._pending: dict[int, asyncio.Future[Data | None]] = {}

    async def send(self, event: str, data: Mapping[str, Any], **envelope: int) -> None:
        """Send an event.

        Raises ``ConnectionLost``; the frame may have been delivered nevertheless.
        """
        try:
            await self.socket.send(json.dumps({"event": event, "data": data, **envelope}))
        except websockets_package().ConnectionClosed:
            # Let the reader notice the loss: a caller that retries at once would starve it.
            await asyncio.sleep(0)
            raise ConnectionLost(event) from None

    async def request(self, event: str, data: Mapping[str, Any]) -> Data:
        """Send an event with an ``id`` and return the data of its answer.

        Raises ``RequestRefused`` and ``ConnectionLost``.
        """
        request_id = next(self._ids)
        answer = self._pending[request_id] = asyncio.get_running_loop().create_future()
        try:
            if self.is_lost:
                raise ConnectionLost(event)
            await self.send(event, data, id=request_id)
            frame = await answer
        finally:
            del self._pending[request_id]
        if frame is None:
            raise ConnectionLost(event)
        answer_data: Data = frame.get("data", {})
        if frame["event"] == "error":
            raise RequestRefused(event, answer_data)
        return answer_data

    async def run(
        self,
        handle: Callable[[Data], None],
        on_open: Coroutine[Any, Any, None],
        ping_interval: float,
        heartbeat_timeout: float,
    ) -> int:
        """Call ``handle`` with each frame until the connection ends, and return the close code.

        ``on_open`` runs alongside. A ``ping`` is sent every ``ping_interval`` seconds. After
        ``heartbeat_timeout`` seconds without a frame the connection counts as lost: it is aborted,
        and the code is 1006.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._keep_pinging(ping_interval)),
                    group.create_task(on_open),
                ]
                code = await self._read(handle, heartbeat_timeout)
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return code

    async def _read(self, handle: Callable[[Data], None], timeout: float) -> int:  # noqa: ASYNC109
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout) as deadline:
                while (frame := await next_frame(self.socket)) is not None:
                    deadline.reschedule(loop.time() + timeout)
                    handle(json.loads(frame))
        except TimeoutError:
            self.socket.transport.abort()  # a close frame would not arrive either
            return ABNORMAL
        return self.socket.close_code or ABNORMAL

    async def _keep_pinging(self, interval: float) -> None:
        with suppress(ConnectionLost):
            while True:
                await asyncio.sleep(interval)
                await self.send("ping", {})

    def resolve(self, frame: Data) -> bool:
        """Pass a frame to the request that it answers; return whether it is an answer.

        An answer to a request that was cancelled is dropped, and is an answer as well.
        """
        answer = self._pending.get(frame.get("id", 0))
        if answer is not None and not answer.done():
            answer.set_result(frame)
        return "id" in frame

    def mark_lost(self) -> None:
        """End all pending requests with ``ConnectionLost``."""
        self.is_lost = True
        if self.renewal is not None:
            self.renewal.cancel()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_result(None)


def websockets_package() -> ModuleType:
    """Return the ``websockets`` package. Raises ``ImportError`` that says how to install it."""
    try:
        import websockets
    except ImportError as error:
        raise ImportError(
            'signalling.client needs websockets: pip install "django-signalling[client]"'
        ) from error
    return websockets
