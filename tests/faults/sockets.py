"""One socket of a client that logs what it sees."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from websockets.exceptions import WebSocketException

from signalling.client.connection import (
    ABNORMAL,
    Connection,
    ConnectionLost,
    Data,
    RequestRefused,
    next_frame,
    open_socket,
)

from .journal import Journal
from .records import Announced, Answered, Closed, Ended, Joined, Received, Refused, Reported, Sent

EVENTS: dict[str, Literal["joined", "left", "away", "back"]] = {
    "peer:joined": "joined",
    "peer:left": "left",
    "peer:away": "away",
    "peer:back": "back",
}
PENDING = 50
"""Relays and pings of a socket that may wait for an answer."""
OPEN_SECONDS = 5.0


class SocketFailed(Exception):
    """The socket could not be opened, or is lost."""


class Socket:
    """A socket, from its handshake to its end. Everything that arrives is logged."""

    _numbers = itertools.count(1)

    def __init__(self, journal: Journal, url: str, token: str) -> None:
        self.number = next(self._numbers)
        self.peer = ""
        self.roster: set[str] = set()
        self.resume_token: str | None = None
        self.is_open = False
        self._journal = journal
        self._url = url
        self._token = token
        self._pending: dict[int, float] = {}
        """When each request began that has no answer, by number."""
        self._requests = itertools.count()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._connection: Connection
        self._on_joined: Callable[[Data], None] = lambda room: None

    async def open(self) -> None:
        """Connect. Raises ``SocketFailed``."""
        try:
            socket = await open_socket(
                self._url, token=self._token, open_timeout=OPEN_SECONDS, close_timeout=1, proxy=None
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise SocketFailed(repr(error)) from error
        self._connection = Connection(socket, itertools.count(1))
        self.is_open = True
        self._spawn(self._read())

    async def join(self, room: str, *, resumable: bool, resume_token: str | None) -> Data:
        """Join or resume and return ``room:joined``.

        Raises ``SocketFailed``, ``TimeoutError``, and ``RequestRefused``.
        """
        data: Data = {"roomCode": room, "resumable": resumable}
        if resume_token is not None:
            data["resumeToken"] = resume_token
        async with asyncio.timeout(20):
            return await self._request("join:room", data)

    async def leave(self) -> None:
        """Leave the room. Raises like ``join``."""
        peer = self.peer
        async with asyncio.timeout(10):
            await self._request("leave:room", {})
        self._journal.add(Ended(self._journal.now(), peer))
        await self.abort()

    async def _request(self, event: str, data: Data) -> Data:
        try:
            return await self._connection.request(event, data)
        except ConnectionLost as error:
            raise SocketFailed(event) from error

    # --- Relays -------------------------------------------------------------------------------

    def relay(self, target: str) -> None:
        """Send a candidate, and log the answer when it arrives."""
        if self.is_open and len(self._pending) < PENDING:
            number = next(self._journal.relay_numbers)
            self._journal.add(Sent(self._journal.now(), self.peer, self.number, target, number))
            self._spawn(self._relay(target, number))

    async def _relay(self, target: str, number: int) -> None:
        code = ""
        try:
            await self._timed("webrtc:ice", {"targetPeerId": target, "candidate": str(number)})
        except RequestRefused as refusal:
            code = refusal.code
        except ConnectionLost:
            return
        self._journal.add(Answered(self._journal.now(), number, code))

    def ping(self) -> None:
        """Send a ping; see ``silent_for``."""
        if self.is_open and len(self._pending) < PENDING:
            self._spawn(self._ping())

    async def _ping(self) -> None:
        with suppress(ConnectionLost, RequestRefused):
            await self._timed("ping", {})

    async def _timed(self, event: str, data: Data) -> None:
        number = next(self._requests)
        self._pending[number] = self._journal.now()
        try:
            await self._connection.request(event, data)
        finally:
            del self._pending[number]

    @property
    def silent_for(self) -> float:
        """The seconds for which the oldest relay or ping has waited for its answer."""
        return self._journal.now() - min(self._pending.values(), default=self._journal.now())

    # --- What arrives -------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while (text := await next_frame(self._connection.socket)) is not None:
                frame = json.loads(text)
                self._log(frame["event"], frame.get("data", {}), has_id="id" in frame)
                self._connection.resolve(frame)
        finally:
            self.is_open = False
            self._connection.mark_lost()
            code = self._connection.socket.close_code or ABNORMAL
            self._journal.add(Closed(self._journal.now(), self.peer, self.number, code))

    def _log(self, event: str, data: Data, *, has_id: bool) -> None:
        now = self._journal.now()
        if event == "room:joined":
            self._joined(now, data)
        elif event in EVENTS:
            subject = data["peerId"]
            if event == "peer:joined":
                self.roster.add(subject)
            elif event == "peer:left":
                self.roster.discard(subject)
            self._journal.add(Announced(now, self.peer, self.number, EVENTS[event], subject))
        elif event == "webrtc:ice":
            sender, number = data["fromPeerId"], int(data["candidate"])
            self._journal.add(Received(now, self.peer, self.number, sender, number))
        elif event == "error" and not has_id:
            target, code = data.get("targetPeerId"), data["code"]
            known = Reported(now, self.peer, target, code) if target else None
            self._journal.add(known or Refused(now, code, self.peer))

    def _joined(self, now: float, data: Data) -> None:
        self.peer = data["peerId"]
        self.resume_token = data.get("resumeToken")
        others = {peer["id"]: bool(peer.get("away")) for peer in data["peers"]}
        self.roster = set(others)
        self._journal.add(
            Joined(
                now,
                self.peer,
                self.number,
                data["roomId"].removeprefix("room_").upper(),
                others,
                resumable=self.resume_token is not None,
                resumed=bool(data.get("resumed")),
                gap=bool(data.get("gap")),
            )
        )

    # --- The end ------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """End the stream without a close frame. What the server has sent still arrives."""
        if self.is_open:
            self._connection.socket.transport.write_eof()

    async def close(self) -> None:
        """Close with 1000, as a page that is closed."""
        peer, was_open = self.peer, self.is_open
        await self._connection.socket.close()
        if was_open and self._connection.socket.close_code == 1000:
            self._journal.add(Ended(self._journal.now(), peer))

    async def abort(self) -> None:
        """Drop the connection, and wait for all tasks."""
        if hasattr(self, "_connection"):
            self._connection.socket.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
