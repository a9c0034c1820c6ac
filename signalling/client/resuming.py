"""A client for programs that take part in calls: bots, recorders, benchmarks. Needs no Django.

    async with ResumingClient("wss://example.org/ws/signalling/", token=token) as client:
        room = await client.join("ABC123")
        for peer in room["peers"]:
            await client.relay(peer["id"], "offer", {"type": "offer", "sdp": sdp})
        async for event, data in client:
            if event == "webrtc:answer":
                ...

It joins resumably, and comes back by the rules of PROTOCOL.md ("Membership", "Close codes") when its
connection is lost: as the same peer, on whichever worker. Needs the ``websockets`` package.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Literal, NamedTuple

from signalling.protocol import CLIENT_EVENTS, CloseCode, Relay

from .backoff import COMES_BACK, Pauses, Seat, backoff, is_passing
from .connection import ABNORMAL, Connection, Data, Refused, Unanswered, next_frame, open_socket

__all__ = ["Closed", "Event", "Refused", "ResumingClient", "State", "Unanswered"]

Token = str | Callable[[], Awaitable[str]]
_RELAYS = {
    event.payload_name: event.event for event in CLIENT_EVENTS.values() if issubclass(event, Relay)
}


class Event(NamedTuple):
    """What the server said: the name of an event and its data, as PROTOCOL.md describes them."""

    name: str
    data: Data


class State(StrEnum):
    CONNECTING = "connecting"
    """Not connected yet."""
    CONNECTED = "connected"
    """Connected and, if it was in a room, in it again."""
    RECONNECTING = "reconnecting"
    CLOSED = "closed"
    """For good: ``close`` was called, or the server refused for good."""


class Closed(Exception):
    """The client has ended. ``code`` is the close code; a refusal that ended it is the ``__cause__``."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}{reason and ': '}{reason}")
        self.code = code


class ResumingClient:
    """One peer, on as many sockets as it takes, one after the other. Made on a running event loop.

    ``urls``: one address, or several that are tried in turn. ``token``: an access token, or a function
    that is asked for one before each attempt; if it raises ``OSError`` that attempt has failed.
    ``ping_every`` and ``silence`` are seconds: how often the server is asked for a ``pong``, and how
    long it may say nothing before the connection counts as lost. ``delays`` is ``backoff``, or another
    function like it; ``on_state`` is told of each new state. ``max_events`` may wait to be iterated
    over; one more ends the client, rather than memory. ``options`` go to ``websockets.connect``.

    After a loss a ``room:joined`` with ``resumed`` true says that this is still the same peer, and with
    ``gap`` true that frames were lost; with ``resumed`` false the client has joined anew, under another
    ``peerId``. It stands among the events, before whatever came after it.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: Token | None = None,
        ping_every: float = 20.0,
        silence: float = 45.0,
        delays: Callable[[int], float] = backoff,
        on_state: Callable[[State], None] | None = None,
        max_events: int = 10_000,
        **options: Any,
    ) -> None:
        self.state = State.CONNECTING
        self.attempts = 0
        """How many connections were tried; each has its number, so that none is taken for another."""
        self.reconnects = 0
        """How often the client was connected again after a loss."""
        self.close_code: int | None = None
        """The code of the last connection that ended, 1006 where it had none."""
        self._urls = [urls] if isinstance(urls, str) else [*urls]
        self._token = token
        self._used_token: str | None = None
        self._refused_token: str | None = None
        self._ping_every = ping_every
        self._silence = silence
        self._pauses = Pauses(delays)
        self._seat = Seat(self._pauses)
        self._on_state = on_state
        self._options = options
        self._events = _Events(max_events)
        self._ids = itertools.count(1)
        self._ended: Exception | None = None
        self._is_asked_to_end = False
        self._ready: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ResumingClient {self.peer_id} {self.state}>"

    # --- Coming and going -----------------------------------------------------------------------

    async def __aenter__(self) -> ResumingClient:
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
        """Connect, as often as it takes. Raises ``Closed``, and ``websockets.InvalidStatus`` where a
        handshake is refused for good (403: a foreign origin; 404: another path).
        """
        self._task = asyncio.create_task(self._live())
        try:
            await self._connection()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close with 1000: the membership ends at once, where the server can be told of it.

        Otherwise it ends with its window. Harmless where the client is closed.
        """
        self._is_asked_to_end |= self._ended is None
        self._end(Closed(CloseCode.NORMAL))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Try now, if the client waits before an attempt to reconnect: the network is there again."""
        self._pauses.wake()

    @property
    def room(self) -> Data | None:
        """The last ``room:joined``, None where the client is in no room."""
        return self._seat.room

    @property
    def peer_id(self) -> str:
        """The id of this peer, empty where it is in no room."""
        return self.room["peerId"] if self.room is not None else ""

    @property
    def resumes(self) -> int:
        """How often the client has come back as the same peer."""
        return self._seat.resumes

    # --- Speaking -------------------------------------------------------------------------------

    async def join(self, room_code: str) -> Data:
        """Join a room and return its ``room:joined``.

        Goes on through lost connections and waits as long as the server says (``retryAfter``); a limit
        is ``asyncio.timeout``'s business. Raises ``Refused`` and ``Closed``.
        """
        while True:
            connection = await self._connection()
            try:
                return await self._seat.take(connection, room_code)
            except Unanswered:  # a seat that was taken nevertheless is free again after the window
                continue

    async def leave(self) -> None:
        """Leave the room. Raises ``Refused``, ``Unanswered`` (it ends with its window) and ``Closed``."""
        connection = await self._connection()
        self._seat.give_up()
        await connection.request("leave:room", {})

    async def request(self, event: str, data: Mapping[str, Any] | None = None) -> Data:
        """Send an event with an ``id`` and return the data of its answer.

        Waits while the client reconnects. Raises ``Refused``, ``Unanswered`` and ``Closed``.
        """
        return await (await self._connection()).request(event, data or {})

    async def relay(
        self, peer_id: str, what: Literal["offer", "answer", "candidate"], payload: Any
    ) -> None:
        """Relay to a peer what WebRTC has for it (PROTOCOL.md, "Client to server"), as ``request`` does.

        On return the server has accepted the frame. If it is lost after all, an ``error`` with its
        ``targetPeerId`` comes among the events.
        """
        await self.request(_RELAYS[what], {"targetPeerId": peer_id, what: payload})

    async def send(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """Send an event without an ``id``: refusals come among the events.

        Waits while the client reconnects. Raises ``Unanswered`` and ``Closed``.
        """
        await (await self._connection()).say(event, data or {})

    # --- Hearing --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """Return the next event that answers no request. Raises ``Closed``, unless ``close`` was called."""
        event = await self._events.next()
        if event is not None:
            return event
        if self._is_asked_to_end or self._ended is None:
            raise StopAsyncIteration
        raise self._ended

    def _take(self, connection: Connection, frame: Data) -> None:
        name, data = frame["event"], frame.get("data", {})
        if name != "error":  # a server that drains accepts connections too, to refuse them
            self._pauses.succeeded()
        is_event = not connection.is_answered(frame) and name != "pong"
        if name == "room:joined":
            is_event = self._seat.is_retaken(data)
        if is_event:
            self._events.put(Event(name, data))

    # --- One connection after the other -----------------------------------------------------------

    async def _live(self) -> None:
        try:
            while True:
                await self._try()
                await self._pauses.wait()
        except Exception as error:
            self._end(error)

    async def _try(self) -> None:
        """Open a connection and serve it until it is lost. Raises ``Closed`` where that is the end."""
        self.attempts += 1
        try:
            self._used_token = await self._fresh_token()
            url = self._urls[(self.attempts - 1) % len(self._urls)]
            socket = await open_socket(url, token=self._used_token, **self._options)
        except Exception as error:
            if is_passing(error):
                return
            raise
        connection = Connection(socket, self._ids)
        try:
            await self._serve(connection)
        except Exception as error:
            self._end(error)
            raise
        finally:
            self._lose(connection)
            await socket.close()

    async def _serve(self, connection: Connection) -> None:
        try:
            async with asyncio.TaskGroup() as beside:
                tasks = [beside.create_task(do(connection)) for do in (self._ping, self._come_back)]
                self.close_code = await self._listen(connection)
                for task in tasks:
                    task.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        if self.close_code == CloseCode.AUTHENTICATION and callable(self._token):
            self._refused_token = self._used_token
        elif self.close_code not in COMES_BACK:
            raise Closed(self.close_code, str(connection.refusal or "")) from connection.refusal

    async def _fresh_token(self) -> str | None:
        token = await self._token() if callable(self._token) else self._token
        if token is not None and token == self._refused_token:
            raise Closed(CloseCode.AUTHENTICATION, "the server has refused this token")
        return token

    async def _listen(self, connection: Connection) -> int:
        """Take frames until the connection ends, and return the code of that."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._silence) as silence:
                while (frame := await next_frame(connection.socket)) is not None:
                    silence.reschedule(loop.time() + self._silence)
                    self._take(connection, json.loads(frame))
        except TimeoutError:
            connection.socket.transport.abort()  # whom should a close frame reach?
            return ABNORMAL
        return connection.socket.close_code or ABNORMAL

    async def _ping(self, connection: Connection) -> None:
        with suppress(Unanswered):
            while True:
                await asyncio.sleep(self._ping_every)
                await connection.say("ping", {})

    async def _come_back(self, connection: Connection) -> None:
        """Take the seat again, if there was one, and let the requests that wait go on."""
        try:
            await self._seat.retake(connection)
        except Unanswered:
            return
        except Refused as refusal:  # the membership is over, and so is the client
            connection.refusal = refusal
            await connection.socket.close()
            return
        if not connection.is_lost and self._ended is None:
            self.reconnects += self.state == State.RECONNECTING
            self._ready.set_result(connection)
            self._becomes(State.CONNECTED)

    async def _connection(self) -> Connection:
        """Return a connection that is not known to be lost, and in the room if there is one."""
        while True:
            connection = await asyncio.shield(self._ready)
            if not connection.is_lost:
                return connection

    def _lose(self, connection: Connection) -> None:
        connection.lose()
        self._pauses.begin()
        if self._ready.done() and self._ended is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._becomes(State.RECONNECTING)

    def _end(self, error: Exception) -> None:
        if self._ended is not None:
            return
        self._ended = error
        if self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        self._ready.set_exception(error)
        self._ready.exception()  # somebody may ask for it, but need not
        self._events.end()
        self._becomes(State.CLOSED)

    def _becomes(self, state: State) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)


class _Events:
    """What waits to be iterated over."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Raises ``Closed`` where nobody takes them."""
        if self._queue.qsize() >= self._limit:
            raise Closed(CloseCode.TOO_SLOW, f"{self._limit} events wait to be iterated over")
        self._queue.put_nowait(event)

    async def next(self) -> Event | None:
        """Return the next event, None after the last one."""
        event = await self._queue.get()
        if event is None:
            self.end()  # for whoever asks again
        return event

    def end(self) -> None:
        self._queue.put_nowait(None)
