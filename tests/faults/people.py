"""Clients that come and go, relay, lose their sockets and resume, at random and without a pause."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from signalling.client.connection import RequestRefused

from .journal import Journal
from .records import Refused
from .sockets import Socket, SocketFailed

PATIENCE = 3.0
"""Seconds without an answer after which a client tries another worker."""
RESUME_FAILED = {"resume_expired", "resume_invalid"}


class Place(Protocol):
    """Where people meet."""

    rooms: list[str]

    def url(self, worker: int) -> str: ...

    def token(self, name: str) -> str: ...

    @property
    def workers(self) -> int: ...


class Person:
    """A user with one peer. ``is_quiet``: it does nothing but return to its room.

    A person that is not resumable joins like a client that knows only the core events.
    """

    def __init__(
        self, name: str, place: Place, journal: Journal, seed: str, *, is_resumable: bool
    ) -> None:
        self.name = name
        self.is_quiet = False
        self.is_outside = False
        """The rooms are full, and it does not try again before the quiet is over."""
        self._place = place
        self._journal = journal
        self._random = random.Random(seed)
        self._is_resumable = is_resumable
        self._room = self._random.choice(place.rooms)
        self._worker = self._random.randrange(place.workers)
        self._socket: Socket | None = None
        self._former: list[Socket] = []
        """Sockets that were replaced, and are still open."""
        self._resume_token: str | None = None
        self._peer = ""
        self._vanished_until = 0.0
        self._stays_away = False

    # --- The state ----------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether it is in a room, or has no wish to be in one."""
        return self._is_in_room or self.is_outside or self._has_vanished

    @property
    def _is_in_room(self) -> bool:
        socket = self._socket
        return socket is not None and socket.is_open and bool(socket.peer)

    @property
    def _has_vanished(self) -> bool:
        is_waiting = self.is_quiet and self._stays_away
        return is_waiting or self._journal.now() < self._vanished_until

    def __repr__(self) -> str:
        return f"{self.name} ({self._peer or 'no peer'}) in {self._room} at worker {self._worker}"

    # --- Its life -----------------------------------------------------------------------------

    async def live(self) -> None:
        """Come and go until cancelled."""
        try:
            while True:
                await self._next()
        finally:
            await self.drop()

    def rest(self) -> None:
        """Be quiet. If it has vanished, it does not return in the meantime."""
        self._stays_away = self._has_vanished
        self.is_quiet = True

    async def drop(self) -> None:
        """Drop all connections."""
        for socket in [*self._former, *([self._socket] if self._socket else [])]:
            await socket.abort()

    async def _next(self) -> None:
        socket = self._socket
        if self._has_vanished or (self.is_outside and self.is_quiet):
            await asyncio.sleep(0.1)
        elif socket is None or not self._is_in_room:
            await self._enter()
        elif socket.silent_for > PATIENCE:
            await self._move(socket)
        elif self.is_quiet:
            socket.ping()
            await asyncio.sleep(0.5)
        else:
            await self._act(socket)

    async def _act(self, socket: Socket) -> None:
        await asyncio.sleep(self._random.uniform(0.2, 0.6))
        if not socket.is_open:
            return
        socket.ping()
        self._former = [former for former in self._former if former.is_open]
        for sender in [socket, *self._former]:
            if sender.roster:
                sender.relay(self._random.choice(sorted(sender.roster)))
        if self._random.random() < 0.05:
            action = self._random.choice(
                [self._leave, self._close, self._hang_up, self._hang_up, self._vanish, self._move]
            )
            await action(socket)

    async def _leave(self, socket: Socket) -> None:
        try:
            await socket.leave()
        except (SocketFailed, RequestRefused, TimeoutError):
            await socket.abort()  # it may have left, or not
        self._forget()
        self._room = self._random.choice(self._place.rooms)

    async def _close(self, socket: Socket) -> None:
        await socket.close()
        self._forget()

    async def _hang_up(self, socket: Socket) -> None:
        socket.hang_up()
        self._socket = None
        self._former.append(socket)

    async def _vanish(self, socket: Socket) -> None:
        await self._hang_up(socket)
        self._vanished_until = self._journal.now() + self._random.uniform(2, 45)

    def _forget(self) -> None:
        self._socket, self._resume_token, self._peer = None, None, ""

    # --- Joining ------------------------------------------------------------------------------

    async def _move(self, socket: Socket) -> None:
        """Resume at another worker while the socket is still open."""
        self._socket = None
        self._former.append(socket)
        if self._resume_token is None:
            await socket.abort()
        await self._enter()

    async def _enter(self) -> None:
        """Try once to resume or to join, at the next worker."""
        self.is_outside = False
        self._worker = (self._worker + 1) % self._place.workers
        socket = Socket(self._journal, self._place.url(self._worker), self._place.token(self.name))
        try:
            await socket.open()
            room = await socket.join(
                self._room, resumable=self._is_resumable, resume_token=self._resume_token
            )
        except (SocketFailed, TimeoutError):
            await self._failed(socket)
        except RequestRefused as refusal:
            self._refused(refusal.code)
            await self._failed(socket)
        else:
            self._socket = socket
            self._peer, self._resume_token = room["peerId"], room.get("resumeToken")

    async def _failed(self, socket: Socket) -> None:
        await socket.abort()
        if socket.resume_token is not None:  # it was answered too late
            self._peer, self._resume_token = socket.peer, socket.resume_token
        await asyncio.sleep(self._random.uniform(0.1, 0.5))

    def _refused(self, code: str) -> None:
        is_resume = self._resume_token is not None
        peer = self._peer if is_resume else ""
        self._journal.add(Refused(self._journal.now(), code, peer))
        if is_resume and code in RESUME_FAILED:
            self._forget()
        elif code == "room_full":
            self.is_outside = True
            self._room = self._random.choice(self._place.rooms)
