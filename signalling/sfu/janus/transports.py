"""The two connections of one peer in Janus: a session with a publisher and a subscriber handle.

The session belongs to the peer, not to the worker. If the worker dies, Janus keeps the session and
its media for a while, and the worker on which the peer resumes claims it. The state of the
subscriber is lost with the old worker, so the new worker creates a new subscriber. The client keeps
the old receiving connection until media arrives on the new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from signalling.sfu.base import (
    Candidate,
    Claim,
    Description,
    Direction,
    Listener,
    SfuError,
    SfuRequestFailed,
    SfuRoom,
    SfuUnavailable,
    Transports,
)
from signalling.transport.tasks import spawn

from .connection import Message
from .sdp import fingerprints, janus_candidate, janus_description
from .session import Handle, JanusSession
from .subscriber import Subscriber
from .videoroom import NO_SUCH_ROOM, VideoRoom

logger = logging.getLogger("signalling")

RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 8.0

# Error codes of the plugin
ALREADY_PUBLISHED = 434
ID_TAKEN = 436


class JanusTransports(Transports):
    """The connections of one peer in one room."""

    def __init__(
        self, videoroom: VideoRoom, room: SfuRoom, peer_id: str, listener: Listener
    ) -> None:
        self.videoroom = videoroom
        self.room = room
        self.peer_id = peer_id
        self.listener = listener
        self._session: JanusSession | None = None
        self._publisher: Handle | None = None
        self._is_published = False
        self._published_by: set[str] | None = None
        """The fingerprints of the connection that published; None if another worker knew them."""
        self._subscriber = Subscriber(videoroom, room, peer_id, listener)
        self._recovering: asyncio.Task[None] | None = None

    # --- Lifecycle ----------------------------------------------------------------------------

    async def open(self, claim: Claim | None) -> Claim:
        if claim is not None and await self._take_over(claim):
            return claim
        await self._enter()
        return self._claim

    def close(self) -> None:
        if self._session is not None:
            self._session.destroy()
        self._stop()

    def release(self) -> None:
        if self._session is not None:
            self._session.release()
        self._stop()

    def _stop(self) -> None:
        self._session = self._publisher = None
        self._subscriber.stop()
        if self._recovering is not None:
            self._recovering.cancel()

    @property
    def _claim(self) -> Claim:
        assert self._session is not None
        assert self._publisher is not None
        return {"session": self._session.id, "publisher": self._publisher.id}

    @property
    def _session_callbacks(self) -> dict[str, Callable[[JanusSession], None]]:
        return {"on_lost": self._on_lost, "on_claimed": self._on_claimed}

    async def _enter(self) -> None:
        """Create a session and join the room with it. Create the room if it does not exist."""
        self._subscriber.stop()
        session = await JanusSession.create(self.videoroom.connection, **self._session_callbacks)
        try:
            # Handle room events from here on: they may arrive together with the response to "join".
            publisher = self._publisher = await session.attach(self._on_message)
            joined = await self._join(publisher)
        except BaseException:
            self._publisher = None
            session.destroy()
            raise
        self._session = session
        publishers = (feed["id"] for feed in joined["data"].get("publishers", ()))
        self._subscriber.attach(session, publishers)

    async def _join(self, publisher: Handle) -> Message:
        try:
            return await self._request_join(publisher)
        except SfuRequestFailed as error:
            if error.code == NO_SUCH_ROOM:
                await self.videoroom.create(self.room)
            elif error.code == ID_TAKEN:  # by an old session of this peer that was not claimed
                await self.videoroom.kick(self.room, self.peer_id)
            else:
                raise
            return await self._request_join(publisher)

    async def _request_join(self, publisher: Handle) -> Message:
        name = self.videoroom.name(self.room)
        return await publisher.request("join", ptype="publisher", room=name, id=self.peer_id)

    async def _take_over(self, claim: Claim) -> bool:
        """Claim the session that another worker created. Return False if it no longer exists."""
        connection = self.videoroom.connection
        session = JanusSession(connection, claim["session"], **self._session_callbacks)
        self._publisher = session.add_handle(claim["publisher"], self._on_message)
        try:
            await connection.claim(session)
        except SfuRequestFailed:
            return False
        try:
            participants = await self.videoroom.list_participants(self.room)
        except BaseException:
            session.release()
            raise
        if self.peer_id not in participants:
            session.destroy()
            return False
        self._session = session
        self._is_published = participants.pop(self.peer_id)
        publishers = (peer for peer, is_publisher in participants.items() if is_publisher)
        self._subscriber.attach(session, publishers)
        if self._is_published:
            self._subscriber.start()
        else:
            self._reset()
        return True

    # --- Recovery -----------------------------------------------------------------------------

    def _on_claimed(self, session: JanusSession) -> None:
        """Create a new subscriber: an offer may have been lost, and Janus waits for its answer."""
        if session is self._session:
            self._subscriber.reconnect()
            self._recover(self._subscriber.refresh())

    def _on_lost(self, session: JanusSession) -> None:
        """Enter the room again: Janus restarted, or the session was destroyed."""
        if session is self._session:  # not if ``_enter`` has not finished with it
            self._session = self._publisher = None
            self._subscriber.stop()
            self._recover(self._reenter())

    def _recover(self, work: Coroutine[Any, Any, None]) -> None:
        if self._recovering is not None:
            self._recovering.cancel()
        self._recovering = spawn(work, set())

    async def _reenter(self) -> None:
        delay = RETRY_SECONDS
        while True:
            try:
                await self._enter()
            except SfuError as error:
                logger.warning(
                    "%s could not reenter the SFU room, retrying: %s", self.peer_id, error
                )
                await asyncio.sleep(delay)
                delay = min(2 * delay, MAX_RETRY_SECONDS)
            else:
                self._reset()
                return

    def _reset(self) -> None:
        self._is_published = False
        self.listener.on_reset(self._claim)

    # --- Media --------------------------------------------------------------------------------

    async def publish(self, offer: Description) -> Description:
        offered_by = fingerprints(offer)
        if self._is_published and offered_by and self._published_by not in (None, offered_by):
            await self._replace_session()
        configured = await self._send_offer(self._require_publisher(), janus_description(offer))
        self._is_published, self._published_by = True, offered_by
        self._subscriber.start()
        if "jsep" not in configured:
            raise SfuError("Janus returned no answer to this offer")
        return {"type": "answer", "sdp": configured["jsep"]["sdp"]}

    async def _replace_session(self) -> None:
        """Start over for an offer from a new RTCPeerConnection.

        Janus would handle the offer as a renegotiation of the old connection.
        """
        session, self._session = self._session, None
        if session is not None:
            session.destroy()
        self._is_published = False
        try:
            await self._enter()
        except SfuError:
            self._recover(self._reenter())
            raise
        self.listener.on_claim_changed(self._claim)

    async def _send_offer(self, publisher: Handle, offer: Description) -> Message:
        request = "configure" if self._is_published else "publish"
        try:
            return await publisher.request(request, jsep=offer)
        except SfuRequestFailed as error:
            if error.code != ALREADY_PUBLISHED:  # by an earlier offer whose answer came too late
                raise
            return await publisher.request("configure", jsep=offer)

    async def answer(self, answer: Description, connection: int | None) -> None:
        await self._subscriber.answer(answer, connection)

    def trickle(self, direction: Direction, candidate: Candidate, connection: int | None) -> None:
        if direction == "subscribe":
            self._subscriber.trickle(candidate, connection)
        elif self._publisher is not None:
            self._publisher.trickle(janus_candidate(candidate))

    async def restart(self) -> None:
        self._subscriber.restart()

    def _require_publisher(self) -> Handle:
        if self._publisher is None:
            raise SfuUnavailable(f"{self.peer_id} has no connections")
        return self._publisher

    def _on_message(self, publisher: Handle, message: Message) -> None:
        if publisher is not self._publisher:
            return
        data = message.get("data", {})
        if data.get("leaving") == "ok" or data.get("videoroom") == "destroyed":
            self._on_removed(publisher.session)
        elif message["janus"] == "hangup" and self._is_published:
            self._reset()
        elif message["janus"] == "trickle":
            self.listener.on_candidate("publish", message["candidate"])
        self._subscriber.on_room_event(data)

    def _on_removed(self, session: JanusSession) -> None:
        """Janus kicked the peer or closed the room: the handle cannot be used again."""
        session.destroy()
        self._on_lost(session)
