"""Janus over its WebSocket API (https://janus.conf.meetecho.com/docs/rest.html, "WebSockets interface").

One connection carries all sessions of a process. Janus keeps a session whose connection was lost for its
``reclaim_session_timeout``, with all the media that pass through it; so a connection that is lost is opened
anew, and its sessions are claimed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from signalling.sfu.base import SfuRefused, SfuUnavailableError
from signalling.transport.tasks import spawn

logger = logging.getLogger("signalling")

Message = dict[str, Any]

REQUEST_SECONDS = 3.0
CONNECT_SECONDS = 2.0
KEEPALIVE_SECONDS = 20.0  # Janus ends a session of which it hears nothing for 60 s
WATCH_SECONDS = 2.0
MISSES = 3  # probes without an answer, after which Janus is taken for dead: it may hang and stay connected
PATIENCE_SECONDS = 2.0  # for a lost connection to come back before anybody is told
MAX_WRITING = 1000  # messages that wait for a connection that takes nothing
BACKOFF_SECONDS = (0.05, 0.2, 0.5, 0.5, 0.5, 0.5, 1.0, 2.0)


class Session(Protocol):
    """A session, as the connection sees it."""

    id: int

    def heard(self, message: Message) -> None:
        """Janus says something of one of its handles."""

    def was_claimed(self) -> None:
        """It is on another connection now; what Janus said meanwhile was not heard."""

    def was_lost(self) -> None:
        """Janus does not know the session any more."""


class Connection:
    """See the module. ``probe`` asks whether Janus works; ``on_down`` and ``on_up`` hear of
    it, as often as it is seen."""

    def __init__(
        self,
        url: str,
        api_secret: str,
        *,
        probe: Callable[[], Any],
        on_down: Callable[[str], None],
        on_up: Callable[[], None],
    ) -> None:
        self.url = url
        self.sessions: dict[int, Session] = {}
        self._secret = {"apisecret": api_secret} if api_secret else {}
        self._probe = probe
        self._went_down = on_down
        self._came_up = on_up
        self._socket: ClientConnection | None = None
        self._pending: dict[str, asyncio.Future[Message]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._has_tried = asyncio.Event()  # to connect, whether or not that was possible
        self._serving: asyncio.Task[None] | None = None

    # --- Requests -----------------------------------------------------------------------------

    async def request(self, message: Message, *, seconds: float = REQUEST_SECONDS) -> Message:
        """Send a request and return what answers it: the plugin's event, where an ``ack`` comes first.

        Raises ``SfuUnavailableError`` and ``SfuRefused``.
        """
        transaction = secrets.token_hex(8)
        answer = self._pending[transaction] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._opened()
                await self._write({**message, "transaction": transaction})
                return _checked(await answer)
        except TimeoutError:
            raise SfuUnavailableError("Janus does not answer") from None
        finally:
            self._pending.pop(transaction, None)

    def send(self, message: Message) -> None:
        """Send a request whose answer nobody needs; it is lost where Janus is away or does not keep up."""
        if self._socket is not None and len(self._writing) < MAX_WRITING:
            message = {**message, "transaction": secrets.token_hex(8)}
            spawn(self._write_or_not(message), self._writing)

    async def claim(self, session: Session) -> None:
        """Have a session on this connection that began on another one. Raises ``SfuError``, and then hears
        no more of it."""
        self.sessions[session.id] = session
        try:
            await self.request({"janus": "claim", "session_id": session.id})
        except BaseException:
            self.release(session)
            raise

    def release(self, session: Session) -> bool:
        """Hear no more of a session; false where somebody else here has claimed it, or it was lost."""
        is_known = self.sessions.get(session.id) is session
        if is_known:
            del self.sessions[session.id]
        return is_known

    def is_lost(self, session: Session) -> None:
        """Janus does not know a session any more."""
        if self.release(session):
            session.was_lost()

    async def close(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
            self._serving = None

    async def _opened(self) -> None:
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        await self._has_tried.wait()

    async def _write_or_not(self, message: Message) -> None:
        with suppress(SfuUnavailableError):
            await self._write(message)

    async def _write(self, message: Message) -> None:
        if self._socket is None:
            raise SfuUnavailableError("there is no connection to Janus")
        try:
            await self._socket.send(msgspec.json.encode({**message, **self._secret}).decode())
        except WebSocketException as error:
            raise SfuUnavailableError("the connection to Janus was lost") from error

    # --- The connection -----------------------------------------------------------------------

    async def _serve(self) -> None:
        """Be connected, again and again, until cancelled."""
        attempt = 0
        lost_at = monotonic()
        try:
            while True:
                try:
                    async with self._connected() as socket:
                        attempt = 0
                        await self._use(socket)
                except (OSError, WebSocketException, TimeoutError) as error:
                    logger.debug("no connection to Janus: %r", error)
                if self._socket is not None:
                    logger.warning("the connection to Janus at %s was lost", self.url)
                    lost_at = monotonic()
                self._lose()
                if monotonic() - lost_at >= PATIENCE_SECONDS:
                    self._went_down(self.url)
                await asyncio.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
                attempt += 1
        finally:
            self._lose()

    def _connected(self) -> connect:
        return connect(
            self.url,
            subprotocols=[Subprotocol("janus-protocol")],
            open_timeout=CONNECT_SECONDS,
            close_timeout=CONNECT_SECONDS,
            ping_interval=None,  # the watch asks more than whether the socket lives
            compression=None,
            max_size=None,  # offers for fifty peers are long, and Janus is ours
            proxy=None,
        )

    async def _use(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._has_tried.set()
        reading = asyncio.create_task(self._read(socket))
        helping = asyncio.create_task(self._look_after())
        try:
            await asyncio.wait([reading])
        finally:
            for task in (reading, helping):
                task.cancel()
            await asyncio.wait([reading, helping])

    async def _look_after(self) -> None:
        await self._reclaim()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_alive())
            group.create_task(self._watch())

    async def _read(self, socket: ClientConnection) -> None:
        async for text in socket:
            message: Message = msgspec.json.decode(text)
            waiting = self._pending.get(message.get("transaction", ""))
            if waiting is not None and message["janus"] != "ack":
                if not waiting.done():
                    waiting.set_result(message)
            elif (session := self.sessions.get(message.get("session_id", 0))) is not None:
                self._tell(session, message)

    def _tell(self, session: Session, message: Message) -> None:
        try:
            if message["janus"] == "timeout":
                self.is_lost(session)
            else:
                session.heard(message)
        except Exception:
            logger.exception("what Janus said could not be handled")

    def _lose(self) -> None:
        self._socket = None
        self._has_tried.set()
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(SfuUnavailableError("the connection to Janus was lost"))

    async def _reclaim(self) -> None:
        """Go on with the sessions that there were. Those that Janus does not know are lost."""
        await asyncio.gather(*(self._claim_again(session) for session in [*self.sessions.values()]))

    async def _claim_again(self, session: Session) -> None:
        socket = self._socket
        while self._socket is socket and self.sessions.get(session.id) is session:
            try:
                await self.request({"janus": "claim", "session_id": session.id})
            except SfuRefused:
                self.is_lost(session)
            except SfuUnavailableError as error:
                logger.warning("session %d is not claimed yet: %s", session.id, error)
            else:
                session.was_claimed()
                return

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            for session_id in [*self.sessions]:
                self.send({"janus": "keepalive", "session_id": session_id})

    # --- The watch ----------------------------------------------------------------------------

    async def _watch(self) -> None:
        misses = 0
        while True:
            try:
                await self._probe()
                misses = 0
                self._came_up()
            except SfuUnavailableError:
                misses += 1
                if misses >= MISSES:
                    self._went_down(self.url)
                    self._give_up()
            except SfuRefused as refusal:
                logger.warning("Janus refuses to be asked for a sign of life: %s", refusal)
            except Exception:
                logger.exception("Janus could not be asked for a sign of life")
            await asyncio.sleep(WATCH_SECONDS)

    def _give_up(self) -> None:
        """Have another connection: this one may lead nowhere, and TCP would find that out in minutes."""
        if self._socket is not None:
            self._socket.transport.abort()


def _checked(message: Message) -> Message:
    """Return an answer that is no error; Janus has errors of its own, and its plugins have theirs."""
    if message["janus"] == "error":
        error = message["error"]
        raise SfuRefused(error["code"], error["reason"])
    data = message.get("plugindata", {}).get("data", {})
    if "error_code" in data:
        raise SfuRefused(data["error_code"], data.get("error", ""))
    return message
