"""A Janus session and its handles: what one peer, or this process itself, has in Janus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from signalling.sfu.base import BadDescription, SfuRefused

from .connection import Connection, Message

VIDEOROOM = "janus.plugin.videoroom"

# JANUS_VIDEOROOM_ERROR_INVALID_SDP_TYPE, _INVALID_SDP; JANUS_ERROR_JSEP_UNKNOWN_TYPE, _INVALID_SDP,
# JANUS_ERROR_UNEXPECTED_ANSWER
BAD_DESCRIPTIONS = {431, 437, 464, 465, 469}

SESSION_NOT_FOUND, HANDLE_NOT_FOUND = 458, 459


class Handle:
    """One attachment to the VideoRoom plugin, which has at most one RTCPeerConnection.

    ``heard`` is called with the handle and with what Janus says of it.
    """

    def __init__(self, session: JanusSession, handle_id: int, heard: Heard) -> None:
        self.session = session
        self.id = handle_id
        self.heard = heard

    async def ask(self, request: str, jsep: Any = None, **body: Any) -> Message:
        """Ask the plugin something; return its answer with ``data`` (the plugin's) and ``jsep``.

        Raises ``SfuUnavailableError``, ``SfuRefused`` and, of a ``jsep``, ``BadDescription``.
        """
        try:
            return await self._request(self._message(request, jsep, body))
        except SfuRefused as refusal:
            if jsep is not None and refusal.code in BAD_DESCRIPTIONS:
                raise BadDescription(str(refusal)) from refusal
            raise

    def tell(self, request: str, **body: Any) -> None:
        """The same without waiting: the answer is an event."""
        self.session.connection.send(self._addressed(self._message(request, None, body)))

    def trickle(self, candidate: Message) -> None:
        self.session.connection.send(self._addressed({"janus": "trickle", "candidate": candidate}))

    def detach(self) -> None:
        self.session.handles.pop(self.id, None)
        self.session.connection.send(self._addressed({"janus": "detach"}))

    def _message(self, request: str, jsep: Any, body: Message) -> Message:
        message: Message = {"janus": "message", "body": {"request": request, **body}}
        return message if jsep is None else {**message, "jsep": jsep}

    async def _request(self, message: Message) -> Message:
        connection = self.session.connection
        try:
            return unwrapped(await connection.request(self._addressed(message)))
        except SfuRefused as refusal:
            is_known = self.session.handles.get(self.id) is self
            if refusal.code in {SESSION_NOT_FOUND, HANDLE_NOT_FOUND} and is_known:
                connection.is_lost(self.session)  # it has ended without our hearing of it
            raise

    def _addressed(self, message: Message) -> Message:
        return {**message, "session_id": self.session.id, "handle_id": self.id}


class JanusSession:
    """A session on a connection. ``lost`` is called once, if Janus forgets it; ``claimed`` each time that
    something may not have been heard."""

    def __init__(
        self,
        connection: Connection,
        session_id: int,
        *,
        lost: Callable[[JanusSession], None],
        claimed: Callable[[JanusSession], None] = lambda session: None,
    ) -> None:
        self.connection = connection
        self.id = session_id
        self.handles: dict[int, Handle] = {}
        self._lost = lost
        self._claimed = claimed

    @classmethod
    async def create(
        cls, connection: Connection, **calls: Callable[[JanusSession], None]
    ) -> JanusSession:
        """Begin a session. Raises ``SfuError``, as all requests do."""
        created = await connection.request({"janus": "create"})
        session = cls(connection, created["data"]["id"], **calls)
        connection.sessions[session.id] = session
        return session

    async def attach(self, heard: Heard) -> Handle:
        attach = {"janus": "attach", "session_id": self.id, "plugin": VIDEOROOM}
        attached = await self.connection.request(attach)
        return self.has(attached["data"]["id"], heard)

    def has(self, handle_id: int, heard: Heard) -> Handle:
        """Know a handle, a new one or one of a session that was claimed."""
        handle = self.handles[handle_id] = Handle(self, handle_id, heard)
        return handle

    def heard(self, message: Message) -> None:
        handle = self.handles.get(message.get("sender", 0))
        if handle is not None:
            handle.heard(handle, unwrapped(message))
        elif message["janus"] == "hangup":  # one that whoever had the session before us has left
            Handle(self, message["sender"], _ignore).detach()

    def was_lost(self) -> None:
        self._lost(self)

    def was_claimed(self) -> None:
        self._claimed(self)

    def destroy(self) -> None:
        """End it with all its handles."""
        if self.release():
            self.connection.send({"janus": "destroy", "session_id": self.id})

    def release(self) -> bool:
        """Hear no more of it; false where that was so already."""
        return self.connection.release(self)


def unwrapped(message: Message) -> Message:
    """Return a message with the plugin's data beside the rest, as ``data``."""
    data: Message = message.get("plugindata", {}).get("data", {})
    return {**message, "data": data} if data else message


def _ignore(handle: Handle, message: Message) -> None:
    """Nobody listens."""


Heard = Callable[[Handle, Message], None]
