"""What tests of sites with call rooms need: tokens, and a client whose use reads as sentences.

    token = access_token(user)
    async with SignallingCommunicator("ws://127.0.0.1:8000/ws/signalling/", token=token) as alice:
        room = await alice.join("ABC123")
        await alice.send("webrtc:offer", {"targetPeerId": room["peers"][0]["id"], "offer": offer})
        answer = await alice.receive("webrtc:answer")

The client needs the ``websockets`` package and a real server. It never waits longer than it is told
to, and never guesses: ``receive`` looks at the very next frame, ``receive_nothing`` asks the server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser
from rest_framework_simplejwt.tokens import AccessToken

from .client import connection as client_connection
from .client.connection import ABNORMAL, Data
from .protocol import SUBPROTOCOL

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

TIMEOUT = 5.0
"""Seconds that a server on the same machine may take for anything."""


def access_token(user: AbstractBaseUser) -> str:
    """Return an access token for a user, as ``/api/token/`` would."""
    return str(AccessToken.for_user(user))


class RequestRefused(client_connection.RequestRefused, AssertionError):
    """The server answered a request with an ``error`` event.

    ``code`` is its code, ``details`` all of its data. An ``AssertionError``, so that a refusal that a
    test did not expect fails the test and does not break it.
    """


class SignallingCommunicator:
    """One socket to a signalling server; frames are kept in order until a test looks at them.

    ``token`` goes into the ``Authorization`` header. Whatever else a handshake may bring goes into
    ``headers``, ``origin`` and ``subprotocols``, or into the query of ``url``. ``address`` is where
    the client comes from: on the loopback ``127.0.0.2`` is another than ``127.0.0.1``.
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
        self.close_code: int | None = None
        self.last_frame = ""
        """The text of the frame that was looked at last, as it came."""
        self._token = token
        self._headers = [*headers]
        if origin is not None:
            self._headers.append(("Origin", origin))
        self._subprotocols = subprotocols
        self._options: Data = {"local_addr": (address, 0)} if address is not None else {}
        self._ids = itertools.count(1)
        self._frames: list[tuple[Data, str]] = []
        self._changed = asyncio.Condition()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<{self.name} {self.peer_id}>"

    # --- Coming and going -----------------------------------------------------------------------

    async def __aenter__(self) -> SignallingCommunicator:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Open the socket. Raises ``websockets.InvalidStatus`` where the handshake is refused."""
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
        """Close the socket as a page does that is left; harmless where it is closed."""
        if self._socket is not None:
            await self._socket.close(code)
        if self._reader is not None:
            await self._reader

    async def reset(self) -> None:
        """End the connection with a TCP reset, as a crash or a firewall does: no close frame."""
        connection = self._connection.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.transport.abort()
        if self._reader is not None:
            await self._reader

    @property
    def subprotocol(self) -> str | None:
        """What the server chose."""
        return self._connection.subprotocol

    # --- Speaking -------------------------------------------------------------------------------

    async def send(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """Send an event without an ``id``, as the seed's clients do; waits for no answer."""
        frame = {"event": event} if data is None else {"event": event, "data": data}
        await self.send_raw(json.dumps(frame))

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame as it is, text or binary."""
        await self._connection.send(frame)

    async def request(
        self, event: str, data: Mapping[str, Any] | None = None, *, within: float = TIMEOUT
    ) -> Data:
        """Send an event with an ``id`` and return the data of the frame that answers it.

        Frames that come before the answer wait for ``receive``. Raises ``RequestRefused``.
        """
        request_id = next(self._ids)
        await self.send_raw(json.dumps({"event": event, "data": data or {}, "id": request_id}))
        frame = await self._next({"id": request_id}, within, f"the answer to {event}")
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

        ``resumable``: keep the seat after a loss; ``resume_token``: the last ``resumeToken``.
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
        """Resume as the peer with this token and return ``room:joined``. Raises ``RequestRefused``."""
        room = await self.join(room_code, within=within, resumable=True, resume_token=token)
        assert room["resumed"] is True, f"{self.name} is another peer now: {room}"
        return room

    async def leave(self) -> None:
        """Leave the room and wait until the server says so. Raises ``RequestRefused``."""
        await self.request("leave:room")

    # --- Seeing ---------------------------------------------------------------------------------

    async def receive(self, event: str, *, within: float = TIMEOUT) -> Data:
        """Return the data of the next frame, which must be this event."""
        frame = await self._next({}, within, event)
        assert frame["event"] == event, f"{self.name} sees {frame} and not {event}"
        data: Data = frame.get("data", {})
        return data

    async def receive_error(self, code: str, *, within: float = TIMEOUT) -> Data:
        """Return the data of the next frame, which must be an ``error`` with this code."""
        error = await self.receive("error", within=within)
        assert error["code"] == code, f"{self.name} sees {error} and not {code}"
        return error

    async def wait_for(self, event: str, *, within: float = TIMEOUT, **data: Any) -> Data:
        """Return the data of the first frame, here or to come, that is this event with this data.

        The frames before it stay where they are. ``await bob.wait_for("peer:left", peerId=...)``
        """
        frame = await self._next({"event": event}, within, f"{event} {data}", data)
        found: Data = frame.get("data", {})
        return found

    async def receive_nothing(self) -> None:
        """Ask the server for a ``pong``, and make sure that nothing came before it."""
        await self.request("ping")
        assert self.unread == [], f"{self.name} sees {self.unread}"

    async def receive_close(self, *, within: float = TIMEOUT) -> int:
        """Wait for the server to close the socket and return its code, 1006 where it gave none."""
        async with self._changed:
            waiting = self._changed.wait_for(lambda: self.close_code is not None)
            await self._in_time(waiting, within, "a close")
        assert self.close_code is not None
        return self.close_code

    async def pause_reading(self) -> None:
        """Take nothing more from the socket, as a page does that hangs: the buffers fill up."""
        assert self._reader is not None
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    def resume_reading(self) -> None:
        """Take what has come meanwhile, and what comes."""
        self._reader = asyncio.create_task(self._read(self._connection))

    @property
    def unread(self) -> list[Data]:
        """The frames that came and that nobody has looked at yet."""
        return [frame for frame, _ in self._frames]

    def clear(self) -> None:
        """Have no frame unread."""
        self._frames.clear()

    # --- Inside ---------------------------------------------------------------------------------

    @property
    def _connection(self) -> ClientConnection:
        assert self._socket is not None, f"{self.name} is not connected"
        return self._socket

    async def _read(self, connection: ClientConnection) -> None:
        while (frame := await client_connection.next_frame(connection)) is not None:
            async with self._changed:
                self._frames.append((json.loads(frame), frame))
                self._changed.notify_all()
        async with self._changed:
            self.close_code = connection.close_code or ABNORMAL
            self._changed.notify_all()

    async def _next(
        self,
        envelope: Mapping[str, Any],
        within: float,
        wanted: str,
        data: Mapping[str, Any] | None = None,
    ) -> Data:
        async with self._changed:
            waiting = self._changed.wait_for(
                lambda: self.close_code is not None or self._index(envelope, data) is not None
            )
            await self._in_time(waiting, within, wanted)
            index = self._index(envelope, data)
            assert index is not None, f"{self.name} was closed {self.close_code} before {wanted}"
            frame, self.last_frame = self._frames.pop(index)
            return frame

    def _index(self, envelope: Mapping[str, Any], data: Mapping[str, Any] | None) -> int | None:
        for index, (frame, _) in enumerate(self._frames):
            said = frame.get("data", {})
            if envelope.items() <= frame.items() and (data or {}).items() <= said.items():
                return index
        return None

    async def _in_time(self, waiting: Any, within: float, wanted: str) -> None:
        try:
            async with asyncio.timeout(within):  # `wait_for` of 3.11 may swallow a cancellation
                await waiting
        except TimeoutError:
            seen = f"closed {self.close_code}, unread: {self.unread}"
            raise AssertionError(
                f"{self.name} waited {within} s for {wanted} in vain; {seen}"
            ) from None
