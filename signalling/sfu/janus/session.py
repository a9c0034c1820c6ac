"""A Janus session and its plugin handles. Each peer has its own session, and so has this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from signalling.sfu.base import InvalidDescription, SfuRequestFailed

from .connection import Connection, Message

VIDEOROOM = "janus.plugin.videoroom"

# JANUS_VIDEOROOM_ERROR_INVALID_SDP_TYPE, _INVALID_SDP; JANUS_ERROR_JSEP_UNKNOWN_TYPE, _INVALID_SDP,
# JANUS_ERROR_UNEXPECTED_ANSWER
INVALID_DESCRIPTION_CODES = {431, 437, 464, 465, 469}

SESSION_NOT_FOUND, HANDLE_NOT_FOUND = 458, 459


class Handle:
    """A handle of the VideoRoom plugin. It has at most one RTCPeerConnection.

    ``on_message`` is called with the handle and each event that Janus sends for it.
    """

    def __init__(self, session: JanusSession, handle_id: int, on_message: OnMessage) -> None:
        self.session = session
        self.id = handle_id
        self.on_message = on_message

    async def request(self, request: str, jsep: Any = None, **body: Any) -> Message:
        """Send a plugin request; return the response with ``data`` (of the plugin) and ``jsep``.

        Raises ``SfuUnavailable``, ``SfuRequestFailed`` and, if the plugin cannot use ``jsep``,
        ``InvalidDescription``.
        """
        try:
            return await self._request(_plugin_message(request, jsep, body))
        except SfuRequestFailed as error:
            if jsep is not None and error.code in INVALID_DESCRIPTION_CODES:
                raise InvalidDescription(str(error)) from error
            raise

    def send(self, request: str, **body: Any) -> None:
        """Send a plugin request without waiting. The response arrives as an event."""
        self.session.connection.send(self._address(_plugin_message(request, None, body)))

    def trickle(self, candidate: Message) -> None:
        self.session.connection.send(self._address({"janus": "trickle", "candidate": candidate}))

    def detach(self) -> None:
        self.session.handles.pop(self.id, None)
        self.session.connection.send(self._address({"janus": "detach"}))

    async def _request(self, message: Message) -> Message:
        connection = self.session.connection
        try:
            return unwrap(await connection.request(self._address(message)))
        except SfuRequestFailed as error:
            is_current = self.session.handles.get(self.id) is self
            if error.code in {SESSION_NOT_FOUND, HANDLE_NOT_FOUND} and is_current:
                connection.forget_lost(self.session)  # Janus ended it without an event
            raise

    def _address(self, message: Message) -> Message:
        return {**message, "session_id": self.session.id, "handle_id": self.id}


class JanusSession:
    """A session on a connection.

    ``on_lost`` is called once, when Janus no longer has the session. ``on_claimed`` is called each
    time the session is claimed on a new connection: events may have been missed.
    """

    def __init__(
        self,
        connection: Connection,
        session_id: int,
        *,
        on_lost: Callable[[JanusSession], None],
        on_claimed: Callable[[JanusSession], None] = lambda session: None,
    ) -> None:
        self.connection = connection
        self.id = session_id
        self.handles: dict[int, Handle] = {}
        self._on_lost = on_lost
        self._on_claimed = on_claimed

    @classmethod
    async def create(
        cls, connection: Connection, **callbacks: Callable[[JanusSession], None]
    ) -> JanusSession:
        """Create a session. Raises ``SfuError``, like all requests."""
        created = await connection.request({"janus": "create"})
        session = cls(connection, created["data"]["id"], **callbacks)
        connection.sessions[session.id] = session
        return session

    async def attach(self, on_message: OnMessage) -> Handle:
        """Attach a new handle to the plugin. Raises ``SfuError``."""
        attach = {"janus": "attach", "session_id": self.id, "plugin": VIDEOROOM}
        attached = await self.connection.request(attach)
        return self.add_handle(attached["data"]["id"], on_message)

    def add_handle(self, handle_id: int, on_message: OnMessage) -> Handle:
        """Register a handle that exists in Janus, such as one of a claimed session."""
        handle = self.handles[handle_id] = Handle(self, handle_id, on_message)
        return handle

    def on_message(self, message: Message) -> None:
        handle = self.handles.get(message.get("sender", 0))
        if handle is not None:
            handle.on_message(handle, unwrap(message))
        elif message["janus"] == "hangup":  # a handle of the worker that had the session before
            Handle(self, message["sender"], _ignore).detach()

    def on_lost(self) -> None:
        self._on_lost(self)

    def on_claimed(self) -> None:
        self._on_claimed(self)

    def destroy(self) -> None:
        """End the session with all its handles."""
        if self.release():
            self.connection.send({"janus": "destroy", "session_id": self.id})

    def release(self) -> bool:
        """Stop receiving the events of the session. Return False if that was already the case."""
        return self.connection.release(self)


def unwrap(message: Message) -> Message:
    """Return a message with the data of the plugin as ``data``, at the top level."""
    data: Message = message.get("plugindata", {}).get("data", {})
    return {**message, "data": data} if data else message


def _plugin_message(request: str, jsep: Any, body: Message) -> Message:
    message: Message = {"janus": "message", "body": {"request": request, **body}}
    return message if jsep is None else {**message, "jsep": jsep}


def _ignore(handle: Handle, message: Message) -> None:
    """Default no-op callback."""


OnMessage = Callable[[Handle, Message], None]
