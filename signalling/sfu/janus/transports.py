"""The two connections of one peer in Janus: a session of its own, with a publisher and a subscriber.

They are the peer's and not the worker's: when that dies, Janus keeps the session for a while with its
media, and the worker where the peer resumes claims it. What the worker before knew of the subscriber died
with it, so that is made anew; the client keeps the old one until the new one's media arrives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from signalling.sfu.base import (
    Candidate,
    Claim,
    Description,
    Kind,
    Leg,
    Listener,
    SfuError,
    SfuRefused,
    SfuRoom,
    SfuUnavailableError,
    Transports,
)
from signalling.transport.tasks import spawn

from .connection import Message
from .sdp import fingerprints, readable, trickled
from .session import Handle, JanusSession
from .subscriber import AGAIN_SECONDS, Receiver

if TYPE_CHECKING:
    from . import JanusSfu

logger = logging.getLogger("signalling")

NO_SUCH_ROOM = 426
ALREADY_PUBLISHED = 434
ID_TAKEN = 436


class JanusTransports(Transports):
    """See the module."""

    def __init__(self, sfu: JanusSfu, room: SfuRoom, peer_id: str, listener: Listener) -> None:
        self.sfu = sfu
        self.room = room
        self.peer_id = peer_id
        self.listener = listener
        self._session: JanusSession | None = None
        self._publisher: Handle | None = None
        self._is_published = False
        self._published_by: set[str] | None = (
            None  # of which connection; none where another worker knew
        )
        self._published: dict[str, str] = {}  # kind -> mid
        self._receiver = Receiver(sfu, room, peer_id, listener)
        self._mending: asyncio.Task[None] | None = None

    # --- Coming and going ---------------------------------------------------------------------

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
        self._receiver.stop()
        if self._mending is not None:
            self._mending.cancel()

    @property
    def _claim(self) -> Claim:
        assert self._session is not None
        assert self._publisher is not None
        return {"session": self._session.id, "publisher": self._publisher.id}

    async def _enter(self) -> None:
        """Have a session of our own, and be in the room; where that is not there, have it as well."""
        self._receiver.stop()
        session = await JanusSession.create(self.sfu.connection, **self._calls)
        try:
            # From here on what is said of the room is heard: it may come with the answer.
            publisher = self._publisher = await session.attach(self._heard)
            joined = await self._join(publisher)
        except BaseException:
            self._publisher = None
            session.destroy()
            raise
        self._session = session
        feeds = (feed["id"] for feed in joined["data"].get("publishers", ()))
        self._receiver.begin(session, feeds)

    @property
    def _calls(self) -> dict[str, Callable[[JanusSession], None]]:
        return {"lost": self._lost, "claimed": self._claimed}

    async def _join(self, publisher: Handle) -> Message:
        try:
            return await self._ask_to_join(publisher)
        except SfuRefused as refusal:
            await self._make_room_for_us(refusal)
            return await self._ask_to_join(publisher)

    async def _ask_to_join(self, publisher: Handle) -> Message:
        name = self.sfu.name(self.room)
        return await publisher.ask("join", ptype="publisher", room=name, id=self.peer_id)

    async def _make_room_for_us(self, refusal: SfuRefused) -> None:
        if refusal.code == NO_SUCH_ROOM:
            await self.sfu.open_room(self.room)
        elif refusal.code == ID_TAKEN:  # by a session of ours that could not be claimed
            await self.sfu.remove(self.room, self.peer_id, None)
        else:
            raise refusal

    async def _take_over(self, claim: Claim) -> bool:
        """Claim the session of a worker before us; tell whether it was there."""
        session = JanusSession(self.sfu.connection, claim["session"], **self._calls)
        self._publisher = session.has(claim["publisher"], self._heard)
        try:
            await self.sfu.connection.claim(session)
        except SfuRefused:
            return False
        try:
            publishing = await self.sfu.publishing(self.room)
        except BaseException:
            session.release()
            raise
        if self.peer_id not in publishing:
            session.destroy()
            return False
        self._session = session
        self._is_published = publishing.pop(self.peer_id)
        self._receiver.begin(session, (peer for peer, does in publishing.items() if does))
        if self._is_published:
            self._receiver.follow()
        else:
            self._was_reset()
        return True

    # --- Losses -------------------------------------------------------------------------------

    def _claimed(self, session: JanusSession) -> None:
        """The connection was lost for a moment, and perhaps an offer, for whose answer Janus waits."""
        if session is self._session:
            self._receiver.forget_connection()
            self._mend(self._receiver.look_again())

    def _lost(self, session: JanusSession) -> None:
        """Janus has forgotten the session: it was started anew, or somebody has put an end to it."""
        if session is self._session:  # and not one that is still being entered with
            self._session = self._publisher = None
            self._receiver.stop()
            self._mend(self._renew())

    def _mend(self, work: Coroutine[Any, Any, None]) -> None:
        if self._mending is not None:
            self._mending.cancel()
        self._mending = spawn(work, set())

    async def _renew(self) -> None:
        wait = AGAIN_SECONDS
        while True:
            try:
                await self._enter()
            except SfuError as error:
                logger.warning("%s cannot enter the SFU again yet: %s", self.peer_id, error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, 8 * AGAIN_SECONDS)
            else:
                self._was_reset()
                return

    def _was_reset(self) -> None:
        self._published, self._is_published = {}, False
        self.listener.on_reset(self._claim)

    # --- Media --------------------------------------------------------------------------------

    async def publish(self, offer: Description) -> Description:
        offered_by = fingerprints(offer)
        if self._is_published and offered_by and self._published_by not in (None, offered_by):
            await self._begin_anew()
        configured = await self._offer(self._handle, readable(offer))
        self._is_published, self._published_by = True, offered_by
        self._receiver.follow()
        streams = configured["data"].get("streams", ())
        self._published = {stream["type"]: stream["mid"] for stream in streams}
        if "jsep" not in configured:
            raise SfuError("Janus has no answer to this offer")
        return {"type": "answer", "sdp": configured["jsep"]["sdp"]}

    async def _begin_anew(self) -> None:
        """The offer is of another RTCPeerConnection: Janus would take it for one of the former."""
        session, self._session = self._session, None
        if session is not None:
            session.destroy()
        self._published, self._is_published = {}, False
        try:
            await self._enter()
        except SfuError:
            self._mend(self._renew())
            raise
        self.listener.on_claim_changed(self._claim)

    async def _offer(self, publisher: Handle, offer: Description) -> Message:
        request = "configure" if self._is_published else "publish"
        try:
            return await publisher.ask(request, jsep=offer)
        except SfuRefused as refusal:
            if refusal.code != ALREADY_PUBLISHED:  # by an offer whose answer came too late
                raise
            return await publisher.ask("configure", jsep=offer)

    async def answer(self, answer: Description, connection: int | None) -> None:
        await self._receiver.answer(answer, connection)

    def trickle(self, leg: Leg, candidate: Candidate, connection: int | None) -> None:
        if leg == "subscribe":
            self._receiver.trickle(candidate, connection)
        elif self._publisher is not None:
            self._publisher.trickle(trickled(candidate))

    async def restart(self) -> None:
        self._receiver.restart()

    async def mute(self, kind: Kind, *, muted: bool) -> None:
        if kind in self._published:
            await self._handle.ask(
                "moderate",
                room=self.sfu.name(self.room),
                secret=self.sfu.secret(self.room),
                id=self.peer_id,
                mid=self._published[kind],
                mute=muted,
            )

    async def request_keyframe(self) -> None:
        await self._handle.ask("configure", keyframe=True)

    @property
    def _handle(self) -> Handle:
        if self._publisher is None:
            raise SfuUnavailableError(f"{self.peer_id} has no connections")
        return self._publisher

    def _heard(self, publisher: Handle, message: Message) -> None:
        if publisher is not self._publisher:
            return
        data = message.get("data", {})
        if data.get("leaving") == "ok" or data.get("videoroom") == "destroyed":
            self._was_thrown_out(publisher.session)
        elif message["janus"] == "hangup" and self._is_published:
            self._was_reset()
        elif message["janus"] == "trickle":
            self.listener.trickled("publish", message["candidate"])
        self._receiver.heard_in_room(data)

    def _was_thrown_out(self, session: JanusSession) -> None:
        """By a kick, or because the room was closed: the handle is of no use any more."""
        session.destroy()
        self._lost(session)
