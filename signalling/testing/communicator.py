"""``SignallingCommunicator``: a client for tests against a running server."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from signalling.client import connection as client_connection
from signalling.client.connection import ABNORMAL, Data
from signalling.protocol import SUBPROTOCOL

from .frames import ReceivedFrames

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

TIMEOUT = 5.0
"""Seconds to wait for the server by default."""


class RequestRefused(client_connection.RequestRefused, AssertionError):
    """The server answered a request with an ``error`` event.

    ``code`` is its error code, ``details`` all of its data. It is an ``AssertionError`` as well, so
    an unexpected error is reported as a failure of the test.
    """


class SignallingCommunicator:
    """One socket to a signalling server. Keeps received frames until the test reads them.

    No method waits longer than ``within`` seconds, ``TIMEOUT`` by default; then it raises
    ``AssertionError``. ``receive`` looks at the next frame only. ``receive_nothing`` asks the
    server.

    - ``token``: sent in the ``Authorization`` header.
    - ``headers``, ``origin``, ``subprotocols``: other parts of the handshake.
    - ``address``: the local address of the client, such as ``127.0.0.2`` for another loopback
      client.
    - ``name``: its name in error messages.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        origin: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (SUBPROTOCOL,),
        address: str | None = None,
        name: str = "client",
    ) -> None:
        self.url = url
        self.name = name
        self.peer_id = ""
        self.room: Data = {}
        """The ``room:joined`` of the last ``join``."""
        self._token = token
        self._headers = [*headers]
        if origin is not None:
            self._headers.append(("Origin", origin))
        self._subprotocols = subprotocols
        self._options: Data = {"local_addr": (address, 0)} if address is not None else {}
        self._ids = itertools.count(1)
        self._frames = ReceivedFrames(name)
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} {self.peer_id}>"

    # --- Connecting and closing -----------------------------------------------------------------

    async def __aenter__(self) -> SignallingCommunicator:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Open the socket. Raises ``websockets.InvalidStatus`` if the handshake is rejected."""
        self._socket = await client_connection.open_socket(
            self.url,
            token=self._token,
            headers=self._headers,
            subprotocols=self._subprotocols or None,
            proxy=None,
            open_timeout=2 * TIMEOUT,
            close_timeout=TIMEOUT,
            **self._options,
        )
        self._reader = asyncio.create_task(self._read(self._socket))

    async def close(self, code: int = 1000) -> None:
        """Close the socket, like a page that is closed. Does nothing if it is closed already."""
        if self._socket is not None:
            await self._socket.close(code)
        if self._reader is not None:
            await self._reader

    async def reset(self) -> None:
        """End the connection with a TCP reset and no close frame, like a crash or a firewall."""
        connection = self._connection.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.transport.abort()
        if self._reader is not None:
            await self._reader

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server selected."""
        return self._connection.subprotocol

    @property
    def close_code(self) -> int | None:
        """The close code, 1006 without a close frame, ``None`` while the socket is open."""
        return self._frames.close_code

    # --- Sending --------------------------------------------------------------------------------

    async def send(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """Send an event without an ``id``, like a client of the core events (v1)."""
        frame = {"event": event} if data is None else {"event": event, "data": data}
        await self.send_raw(json.dumps(frame))

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a text or binary frame unchanged."""
        await self._connection.send(frame)

    async def request(
        self, event: str, data: Mapping[str, Any] | None = None, *, within: float = TIMEOUT
    ) -> Data:
        """Send an event with an ``id`` and return the data of the frame that answers it.

        Frames that arrive before the answer stay unread. Raises ``RequestRefused``.
        """
        request_id = next(self._ids)
        await self.send_raw(json.dumps({"event": event, "data": data or {}, "id": request_id}))
        frame = await self._frames.pop({"id": request_id}, within, f"the answer to {event}")
        answer: Data = frame.get("data", {})
        if frame["event"] == "error":
            raise RequestRefused(event, answer)
        return answer

    async def join(
        self,
        room_code: str,
        *,
        within: float = TIMEOUT,
        resumable: bool = False,
        resume_token: str | None = None,
    ) -> Data:
        """Join a room and return its ``room:joined``. Raises ``RequestRefused``.

        ``resumable``: keep the membership after a lost connection. ``resume_token``: the last
        ``resumeToken``, to resume with.
        """
        join: Data = {"roomCode": room_code}
        if resumable:
            join["resumable"] = True
        if resume_token is not None:
            join["resumeToken"] = resume_token
        self.room = await self.request("join:room", join, within=within)
        self.peer_id = self.room["peerId"]
        return self.room

    async def resume(self, room_code: str, token: str, *, within: float = TIMEOUT) -> Data:
        """Resume as the peer with this token and return ``room:joined``.

        Raises ``RequestRefused``.
        """
        room = await self.join(room_code, within=within, resumable=True, resume_token=token)
        assert room["resumed"] is True, f"{self.name} is another peer: {room}"
        return room

    async def leave(self) -> None:
        """Leave the room and wait for the answer. Raises ``RequestRefused``."""
        await self.request("leave:room")

    # --- Receiving ------------------------------------------------------------------------------

    async def receive(self, event: str, *, within: float = TIMEOUT) -> Data:
        """Return the data of the next frame, which must be this event."""
        frame = await self._frames.pop({}, within, event)
        assert frame["event"] == event, f"{self.name}: received {frame} instead of {event}"
        data: Data = frame.get("data", {})
        return data

    async def receive_error(self, code: str, *, within: float = TIMEOUT) -> Data:
        """Return the data of the next frame, which must be an ``error`` with this code."""
        error = await self.receive("error", within=within)
        assert error["code"] == code, f"{self.name}: received {error} instead of {code}"
        return error

    async def wait_for(self, event: str, *, within: float = TIMEOUT, **data: Any) -> Data:
        """Return the data of the first unread or later frame with this event and data.

        The frames before it stay unread. Example: ``await bob.wait_for("peer:left", peerId=...)``
        """
        frame = await self._frames.pop({"event": event}, within, f"{event} {data}", data)
        found: Data = frame.get("data", {})
        return found

    async def receive_nothing(self) -> None:
        """Assert that no frame is unread, and none arrives before the answer to a ``ping``."""
        await self.request("ping")
        assert self.unread == [], f"{self.name}: received {self.unread}"

    async def receive_close(self, *, within: float = TIMEOUT) -> int:
        """Wait until the server closes the socket and return the code, 1006 if it sent none."""
        return await self._frames.wait_closed(within)

    async def pause_reading(self) -> None:
        """Stop reading from the socket, like a page that hangs: the buffers fill up."""
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    def resume_reading(self) -> None:
        """Continue to read from the socket."""
        self._reader = asyncio.create_task(self._read(self._connection))

    @property
    def unread(self) -> list[Data]:
        """The received frames that the test has not read yet."""
        return self._frames.unread

    @property
    def last_frame(self) -> str:
        """The text of the frame that was read last, as it was received."""
        return self._frames.last_frame

    def clear(self) -> None:
        """Discard all unread frames."""
        self._frames.clear()

    # --- Internals ------------------------------------------------------------------------------

    @property
    def _connection(self) -> ClientConnection:
        assert self._socket is not None, f"{self.name} is not connected"
        return self._socket

    async def _read(self, connection: ClientConnection) -> None:
        while (frame := await client_connection.next_frame(connection)) is not None:
            await self._frames.add(frame)
        await self._frames.close(connection.close_code or ABNORMAL)
