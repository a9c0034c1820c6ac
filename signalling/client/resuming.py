"""``ResumingClient``: one peer that survives lost connections.

It joins resumably, and reconnects by the rules of PROTOCOL.md ("Membership", "Close codes"): as the
same peer, on whichever worker accepts it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

from signalling.protocol import CLIENT_EVENTS, CloseCode, Relay

from .backoff import RECONNECT_CODES, Backoff, is_transient, reconnect_delay
from .connection import Connection, ConnectionLost, Data, RequestRefused, open_socket
from .events import ClientClosed, Event, EventQueue, State
from .membership import Membership
from .token_source import Token, TokenSource

_RELAYS = {
    event.payload_name: event.event for event in CLIENT_EVENTS.values() if issubclass(event, Relay)
}


class ResumingClient:
    """One peer, connected by one socket after another. Create it in a running event loop.

    - ``urls``: one address, or several to try in turn.
    - ``token``: an access token, or an async function that returns one for each attempt to connect.
      An ``OSError``, or any exception once it has returned a token, counts as a failed attempt.
    - ``ping_interval``: seconds between ``ping`` events.
    - ``heartbeat_timeout``: seconds without any frame after which the connection counts as lost.
    - ``delays``: a function like ``backoff.reconnect_delay``.
    - ``on_state``: called with each new ``State``.
    - ``max_events``: how many events may wait to be read. One more closes the client.
    - ``options``: passed to ``websockets.connect``.

    After a reconnect, iteration yields a ``room:joined`` before the events that follow it. If its
    ``resumed`` is true this is still the same peer, and ``gap`` says whether frames were lost.
    Otherwise the client has joined again, with a new ``peerId``.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: Token | None = None,
        ping_interval: float = 20.0,
        heartbeat_timeout: float = 45.0,
        delays: Callable[[int], float] = reconnect_delay,
        on_state: Callable[[State], None] | None = None,
        max_events: int = 10_000,
        **options: Any,
    ) -> None:
        self.state = State.CONNECTING
        self.attempts = 0
        """The number of connections tried, successful or not."""
        self.reconnects = 0
        """The number of times that the client has connected again after a loss."""
        self.close_code: int | None = None
        """The close code of the last connection that ended, 1006 if it had none."""
        self._urls = [urls] if isinstance(urls, str) else [*urls]
        self._token = TokenSource(token)
        self._ping_interval = ping_interval
        self._heartbeat_timeout = heartbeat_timeout
        self._backoff = Backoff(delays)
        self._membership = Membership(self._backoff)
        self._on_state = on_state
        self._options = options
        self._events = EventQueue(max_events)
        self._ids = itertools.count(1)
        self._ended: Exception | None = None
        self._is_close_requested = False
        self._ready: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ResumingClient {self.peer_id} {self.state}>"

    # --- Connecting and closing -------------------------------------------------------------------

    async def __aenter__(self) -> ResumingClient:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect, retrying after transient errors.

        Raises ``ClientClosed``; ``websockets.InvalidStatus`` if the server rejects the handshake
        for good (403: origin not allowed; 404: wrong path).
        """
        self._task = asyncio.create_task(self._run())
        try:
            await self._connection()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close with code 1000. Safe to call more than once.

        The membership ends at once if the client is connected, otherwise with its resume window.
        """
        self._is_close_requested |= self._ended is None
        self._end(ClientClosed(CloseCode.NORMAL))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Reconnect now instead of waiting, for instance because the network is up again."""
        self._backoff.wake()

    @property
    def room(self) -> Data | None:
        """The data of the last ``room:joined``, ``None`` outside a room."""
        return self._membership.room

    @property
    def peer_id(self) -> str:
        """The id of this peer, empty outside a room."""
        return self.room["peerId"] if self.room is not None else ""

    @property
    def resumes(self) -> int:
        """The number of times that the client has resumed as the same peer."""
        return self._membership.resumes

    # --- Sending ----------------------------------------------------------------------------------

    async def join(self, room_code: str) -> Data:
        """Join a room and return the data of its ``room:joined``.

        Survives lost connections, and waits as long as the server asks (``retryAfter``); use
        ``asyncio.timeout`` for a limit. Raises ``RequestRefused`` and ``ClientClosed``.
        """
        while True:
            connection = await self._connection()
            try:
                return await self._membership.join(connection, room_code)
            except ConnectionLost:  # a seat taken nevertheless is freed after the resume window
                continue

    async def leave(self) -> None:
        """Leave the room.

        Raises ``RequestRefused``, ``ClientClosed`` and ``ConnectionLost``; after the latter the
        membership ends with its resume window.
        """
        connection = await self._connection()
        self._membership.clear()
        await connection.request("leave:room", {})

    async def request(self, event: str, data: Mapping[str, Any] | None = None) -> Data:
        """Send an event with an ``id`` and return the data of its answer.

        Waits while the client reconnects. Raises like ``leave``.
        """
        return await (await self._connection()).request(event, data or {})

    async def relay(
        self, peer_id: str, kind: Literal["offer", "answer", "candidate"], payload: Any
    ) -> None:
        """Send an offer, an answer or an ICE candidate to a peer. Waits and raises like ``request``.

        ``payload`` is what a browser puts there (PROTOCOL.md, "Client to server"). On return the
        server has accepted the frame. If it is lost later, iteration yields an ``error`` with
        ``targetPeerId``.
        """
        await self.request(_RELAYS[kind], {"targetPeerId": peer_id, kind: payload})

    async def send(self, event: str, data: Mapping[str, Any] | None = None) -> None:
        """Send an event without an ``id``: iteration yields its errors.

        Waits while the client reconnects. Raises ``ConnectionLost`` and ``ClientClosed``.
        """
        await (await self._connection()).send(event, data or {})

    # --- Receiving --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """Return the next event that is not an answer.

        Raises ``ClientClosed`` if the server ended it.
        """
        event = await self._events.next()
        if event is not None:
            return event
        if self._is_close_requested or self._ended is None:
            raise StopAsyncIteration
        raise self._ended

    def _handle(self, connection: Connection, frame: Data) -> None:
        name, data = frame["event"], frame.get("data", {})
        if name != "error":  # a draining server accepts the connection and sends an error
            self._backoff.reset()
        is_event = not connection.resolve(frame) and name != "pong"
        if name == "room:joined":
            is_event = self._membership.update(data)
        elif name == "token:expiring":
            self._token.renew(connection)
        if is_event:
            self._events.put(Event(name, data))

    # --- Reconnecting -----------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                await self._attempt()
                await self._backoff.wait()
        except Exception as error:
            self._end(error)

    async def _attempt(self) -> None:
        """Open a connection and use it until it is lost.

        Raises if the client must not reconnect.
        """
        self.attempts += 1
        try:
            token = await self._token.get()
            url = self._urls[(self.attempts - 1) % len(self._urls)]
            socket = await open_socket(url, token=token, **self._options)
        except Exception as error:
            if is_transient(error):
                return
            raise
        connection = Connection(socket, self._ids)
        try:
            self.close_code = await connection.run(
                lambda frame: self._handle(connection, frame),
                self._rejoin(connection),
                self._ping_interval,
                self._heartbeat_timeout,
            )
            if self.close_code == CloseCode.AUTHENTICATION and self._token.is_renewable:
                self._token.refused()
            elif self.close_code not in RECONNECT_CODES:
                reason = str(connection.refusal or "")
                raise ClientClosed(self.close_code, reason) from connection.refusal
        except Exception as error:
            self._end(error)
            raise
        finally:
            self._connection_lost(connection)
            await socket.close()

    async def _rejoin(self, connection: Connection) -> None:
        """Rejoin the room, if the client was in one, then release the requests that wait."""
        try:
            await self._membership.rejoin(connection)
        except ConnectionLost:
            return
        except RequestRefused as error:  # the membership is over, and the client ends with it
            connection.refusal = error
            await connection.socket.close()
            return
        if not connection.is_lost and self._ended is None:
            self.reconnects += self.state == State.RECONNECTING
            self._ready.set_result(connection)
            self._set_state(State.CONNECTED)

    async def _connection(self) -> Connection:
        """Wait for a connection that has rejoined the room and return it."""
        while True:
            connection = await asyncio.shield(self._ready)
            if not connection.is_lost:
                return connection

    def _connection_lost(self, connection: Connection) -> None:
        connection.mark_lost()
        self._backoff.connection_lost()
        if self._ready.done() and self._ended is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._set_state(State.RECONNECTING)

    def _end(self, error: Exception) -> None:
        if self._ended is not None:
            return
        self._ended = error
        if self._ready.done():
            self._ready = asyncio.get_running_loop().create_future()
        self._ready.set_exception(error)
        self._ready.exception()  # marks it as retrieved: a caller may never ask for it
        self._events.end()
        self._set_state(State.CLOSED)

    def _set_state(self, state: State) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)
