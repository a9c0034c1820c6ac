"""A connection to the WebSocket API of Janus (https://janus.conf.meetecho.com/docs/rest.html).

One connection carries all sessions of a process. When a connection is lost, Janus keeps its
sessions, and their media, for its ``reclaim_session_timeout``. The process reconnects and claims
them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from signalling.sfu.base import SfuRequestFailed, SfuUnavailable
from signalling.sfu.health import monitor
from signalling.transport.tasks import spawn

logger = logging.getLogger("signalling")

Message = dict[str, Any]

REQUEST_TIMEOUT_SECONDS = 3.0
CONNECT_TIMEOUT_SECONDS = 2.0
KEEPALIVE_SECONDS = 20.0  # Janus ends a session after 60 s without a message
DOWN_AFTER_SECONDS = 2.0  # how long reconnecting may take before Janus counts as down
MAX_PENDING_WRITES = 1000  # further messages without a response are dropped
BACKOFF_SECONDS = (0.05, 0.2, 0.5, 0.5, 0.5, 0.5, 1.0, 2.0)


class Session(Protocol):
    """What the connection requires of a session."""

    id: int

    def on_message(self, message: Message) -> None:
        """Janus has sent an event for one of the handles of the session."""

    def on_claimed(self) -> None:
        """The session was claimed on a new connection; events may have been missed."""

    def on_lost(self) -> None:
        """Janus no longer has the session."""


class Connection:
    """Stays connected to Janus from the first request until ``close``.

    ``probe`` checks that Janus works. ``on_down`` and ``on_up`` are called with each sign that it is
    down or up, so they may be called repeatedly.
    """

    def __init__(
        self,
        alias: str,
        url: str,
        api_secret: str,
        *,
        probe: Callable[[], Awaitable[None]],
        on_down: Callable[[object], None],
        on_up: Callable[[], None],
    ) -> None:
        self.alias = alias
        self.url = url
        self.sessions: dict[int, Session] = {}
        self._secret = {"apisecret": api_secret} if api_secret else {}
        self._probe = probe
        self._on_down = on_down
        self._on_up = on_up
        self._socket: ClientConnection | None = None
        self._responses: dict[str, asyncio.Future[Message]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._attempted = asyncio.Event()  # set once the first attempt to connect has ended
        self._running: asyncio.Task[None] | None = None

    # --- Requests -----------------------------------------------------------------------------

    async def request(self, message: Message) -> Message:
        """Send a request and return the response; if an ``ack`` comes first, the event after it.

        Raises ``SfuUnavailable`` and ``SfuRequestFailed``.
        """
        transaction = secrets.token_hex(8)
        response = self._responses[transaction] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                await self._ensure_started()
                await self._write({**message, "transaction": transaction})
                return _raise_for_error(await response)
        except TimeoutError:
            raise SfuUnavailable("Janus does not respond") from None
        finally:
            self._responses.pop(transaction, None)

    def send(self, message: Message) -> None:
        """Send a request without waiting for the response.

        The request is dropped if there is no connection, or if Janus reads too slowly.
        """
        if self._socket is not None and len(self._writing) < MAX_PENDING_WRITES:
            message = {**message, "transaction": secrets.token_hex(8)}
            spawn(self._write_or_drop(message), self._writing)

    async def claim(self, session: Session) -> None:
        """Move a session from another connection to this one.

        Raises ``SfuError``; the session is then not registered here.
        """
        self.sessions[session.id] = session
        try:
            await self.request({"janus": "claim", "session_id": session.id})
        except BaseException:
            self.release(session)
            raise

    def release(self, session: Session) -> bool:
        """Stop receiving the events of a session.

        Return False if it is not registered: another object has claimed it, or it was lost.
        """
        is_registered = self.sessions.get(session.id) is session
        if is_registered:
            del self.sessions[session.id]
        return is_registered

    def forget_lost(self, session: Session) -> None:
        """Release a session that Janus no longer has, and notify it."""
        if self.release(session):
            session.on_lost()

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None

    async def _ensure_started(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await self._attempted.wait()

    async def _write_or_drop(self, message: Message) -> None:
        with suppress(SfuUnavailable):
            await self._write(message)

    async def _write(self, message: Message) -> None:
        if self._socket is None:
            raise SfuUnavailable("not connected to Janus")
        try:
            await self._socket.send(msgspec.json.encode({**message, **self._secret}).decode())
        except WebSocketException as error:
            raise SfuUnavailable("connection to Janus lost") from error

    # --- Connecting ---------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, and reconnect after each loss, until cancelled."""
        attempt = 0
        lost_at = monotonic()
        try:
            while True:
                try:
                    async with self._connect() as socket:
                        attempt = 0
                        await self._use(socket)
                except (OSError, WebSocketException, TimeoutError) as error:
                    logger.debug("Could not connect to Janus: %r", error)
                if self._socket is not None:
                    logger.warning("Connection to Janus at %s lost", self.url)
                    lost_at = monotonic()
                self._on_disconnected()
                if monotonic() - lost_at >= DOWN_AFTER_SECONDS:
                    self._on_down(f"no connection to {self.url}")
                await asyncio.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
                attempt += 1
        finally:
            self._on_disconnected()

    def _connect(self) -> connect:
        return connect(
            self.url,
            subprotocols=[Subprotocol("janus-protocol")],
            open_timeout=CONNECT_TIMEOUT_SECONDS,
            close_timeout=CONNECT_TIMEOUT_SECONDS,
            ping_interval=None,  # the health check covers more than the socket
            compression=None,
            max_size=None,  # offers for fifty peers are large, and Janus is trusted
            proxy=None,
        )

    async def _use(self, socket: ClientConnection) -> None:
        """Read and maintain a connection until it is lost."""
        self._socket = socket
        self._attempted.set()
        reading = asyncio.create_task(self._read(socket))
        maintaining = asyncio.create_task(self._maintain())
        try:
            await asyncio.wait([reading])
        finally:
            for task in (reading, maintaining):
                task.cancel()
            await asyncio.wait([reading, maintaining])

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            message: Message = msgspec.json.decode(text)
            response = self._responses.get(message.get("transaction", ""))
            if response is not None and message["janus"] != "ack":
                if not response.done():
                    response.set_result(message)
            elif (session := self.sessions.get(message.get("session_id", 0))) is not None:
                self._dispatch(session, message)

    def _dispatch(self, session: Session, message: Message) -> None:
        try:
            if message["janus"] == "timeout":
                self.forget_lost(session)
            else:
                session.on_message(message)
        except Exception:
            logger.exception("Handling a message from Janus failed")

    def _on_disconnected(self) -> None:
        self._socket = None
        self._attempted.set()
        for response in self._responses.values():
            if not response.done():
                response.set_exception(SfuUnavailable("connection to Janus lost"))

    # --- Maintenance --------------------------------------------------------------------------

    async def _maintain(self) -> None:
        await asyncio.gather(*(self._reclaim(session) for session in [*self.sessions.values()]))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_alive())
            tasks.create_task(
                monitor(self.alias, self._probe, on_down=self._on_unresponsive, on_up=self._on_up)
            )

    async def _reclaim(self, session: Session) -> None:
        """Claim a session of the previous connection, or drop it if Janus no longer has it."""
        socket = self._socket
        while self._socket is socket and self.sessions.get(session.id) is session:
            try:
                await self.request({"janus": "claim", "session_id": session.id})
            except SfuRequestFailed:
                self.forget_lost(session)
            except SfuUnavailable as error:
                logger.warning("Janus session %d not claimed, retrying: %s", session.id, error)
            else:
                session.on_claimed()
                return

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            for session_id in [*self.sessions]:
                self.send({"janus": "keepalive", "session_id": session_id})

    def _on_unresponsive(self, error: SfuUnavailable) -> None:
        """Reconnect: this connection may be dead, and TCP would take minutes to notice."""
        self._on_down(error)
        if self._socket is not None:
            self._socket.transport.abort()


def _raise_for_error(message: Message) -> Message:
    """Return a response. Raise ``SfuRequestFailed`` if it is an error of Janus or of the plugin."""
    if message["janus"] == "error":
        error = message["error"]
        raise SfuRequestFailed(error["code"], error["reason"])
    data = message.get("plugindata", {}).get("data", {})
    if "error_code" in data:
        raise SfuRequestFailed(data["error_code"], data.get("error", ""))
    return message
