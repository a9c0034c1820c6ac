"""The two connections of one peer in Janus: a session of its own, with a publisher and a subscriber.

They are the peer's and not the worker's: when that dies, Janus keeps the session for a while with its
media, and the worker where the peer resumes claims it. What the worker before knew of the subscriber died
with it, so that is made anew; the client keeps the old one until the new one's media arrives.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any

from signalling.sfu.base import (
    Candidate,
    Claim,
    Description,
    Kind,
    Leg,
    Legs,
    Listener,
    SfuError,
    SfuRefused,
    SfuRoom,
    Stream,
)

from .connection import Message
from .session import Handle, JanusSession

if TYPE_CHECKING:
    from . import JanusSfu

logger = logging.getLogger("signalling")

NO_SUCH_ROOM = 426
NO_SUCH_FEED = 428
ID_TAKEN = 436
ALREADY_PUBLISHED = 425

AGAIN_SECONDS = 1.0  # after a subscription that has failed


class JanusLegs(Legs):
    """See the module."""

    def __init__(self, sfu: JanusSfu, room: SfuRoom, peer_id: str, listener: Listener) -> None:
        self.sfu = sfu
        self.room = room
        self.peer_id = peer_id
        self.listener = listener
        self._session: JanusSession | None = None
        self._publisher: Handle | None = None
        self._subscriber: Handle | None = None
        self._published: dict[str, str] = {}  # kind -> mid
        self._feeds: set[str] = set()  # who publishes
        self._followed: set[str] = set()  # whom the subscriber was asked to carry
        self._connection = 0
        self._offer: Message | None = None  # the one that is not answered yet
        self._is_answered = asyncio.Event()
        self._has_news = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    # --- Coming and going ---------------------------------------------------------------------

    async def open(self, claim: Claim | None) -> Claim:
        if claim is None or not await self._take_over(claim):
            await self._enter()
        assert self._session is not None
        assert self._publisher is not None
        self._forget_subscriber()
        self._following = asyncio.create_task(self._follow())
        return {"session": self._session.id, "publisher": self._publisher.id}

    def close(self) -> None:
        if self._session is not None:
            self._session.destroy()
        self._stop()

    def let_go(self) -> None:
        if self._session is not None:
            self._session.let_go()
        self._stop()

    def _stop(self) -> None:
        self._session = self._publisher = self._subscriber = None
        for task in (self._following, self._renewing):
            if task is not None:
                task.cancel()

    async def _enter(self) -> None:
        """Have a session of our own, and be in the room; where that is not there, have it as well."""
        connection = self.sfu.connection
        self._session = session = await JanusSession.create(connection, lost=self._lost)
        self._publisher = await session.attach(self._publisher_heard)
        try:
            joined = await self._join()
        except SfuRefused as refusal:
            await self._make_room_for_us(refusal)
            joined = await self._join()
        self._feeds = {feed["id"] for feed in joined["data"].get("publishers", ())}

    async def _join(self) -> Message:
        assert self._publisher is not None
        return await self._publisher.ask(
            "join", ptype="publisher", room=self.sfu.name(self.room), id=self.peer_id
        )

    async def _make_room_for_us(self, refusal: SfuRefused) -> None:
        if refusal.code == NO_SUCH_ROOM:
            await self.sfu.open_room(self.room)
        elif refusal.code == ID_TAKEN:  # by a session of ours that could not be claimed
            await self.sfu.remove(self.room, self.peer_id)
        else:
            raise refusal

    async def _take_over(self, claim: Claim) -> bool:
        """Claim the session of a worker before us; tell whether it was there."""
        self._session = session = JanusSession(
            self.sfu.connection, claim["session"], lost=self._lost
        )
        self._publisher = session.has(claim["publisher"], self._publisher_heard)
        try:
            await self.sfu.connection.claim(session)
            publishing = await self.sfu.publishing(self.room)
        except SfuRefused:
            return False
        if self.peer_id not in publishing:
            session.destroy()
            return False
        self._feeds = {peer for peer, does in publishing.items() if does} - {self.peer_id}
        if not publishing[self.peer_id]:
            self._was_reset()
        return True

    def _lost(self) -> None:
        """Janus has forgotten the session: it was started anew."""
        self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        if self._following is not None:
            self._following.cancel()
        while True:
            try:
                await self.open(None)
            except SfuError as error:
                logger.warning("%s cannot enter the SFU again yet: %s", self.peer_id, error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._was_reset()
                return

    def _was_reset(self) -> None:
        assert self._session is not None
        assert self._publisher is not None
        self._published = {}
        self.listener.was_reset({"session": self._session.id, "publisher": self._publisher.id})

    # --- What the peer sends ------------------------------------------------------------------

    async def publish(self, offer: Description) -> Description:
        publisher = self._handle("publish")
        configured = await publisher.ask("configure", jsep=offer)
        streams = configured["data"].get("streams", ())
        self._published = {stream["type"]: stream["mid"] for stream in streams}
        answer: Description = {"type": "answer", "sdp": configured["jsep"]["sdp"]}
        return answer

    async def answer(self, answer: Description) -> None:
        if self._offer is None:
            return
        self._offer = None
        try:
            await self._handle("subscribe").ask("start", jsep=answer)
        finally:
            if self._offer is None:  # Janus may have offered again with the same breath
                self._is_answered.set()

    def trickle(self, leg: Leg, candidate: Candidate) -> None:
        handle = self._publisher if leg == "publish" else self._subscriber
        if handle is not None:
            handle.trickle(_trickled(candidate))

    async def restart(self) -> None:
        if self._offer is not None:
            self._offer_again(self._offer)
        elif self._subscriber is not None:
            self._subscriber.tell("configure", restart=True)

    async def mute(self, kind: Kind, *, muted: bool) -> None:
        if kind in self._published:
            await self._handle("publish").ask(
                "moderate",
                room=self.sfu.name(self.room),
                secret=self.sfu.secret(self.room),
                id=self.peer_id,
                mid=self._published[kind],
                mute=muted,
            )

    async def request_keyframe(self) -> None:
        await self._handle("publish").ask("configure", keyframe=True)

    def _handle(self, leg: Leg) -> Handle:
        handle = self._publisher if leg == "publish" else self._subscriber
        if handle is None:
            raise SfuError(f"{self.peer_id} has no connection to {leg} on")
        return handle

    def _publisher_heard(self, message: Message) -> None:
        data = message.get("data", {})
        if message["janus"] == "hangup":
            self._was_reset()
        elif message["janus"] == "trickle":
            self.listener.trickled("publish", message["candidate"])
        for feed in data.get("publishers", ()):
            self._feeds.add(feed["id"])
            self._has_news.set()
        for key in ("unpublished", "leaving"):
            self._feeds.discard(data.get(key))
            self._followed.discard(data.get(key))

    # --- What it receives ---------------------------------------------------------------------

    async def _follow(self) -> None:
        """Subscribe to whoever publishes; one offer at a time, each for all who have come meanwhile."""
        while True:
            await self._has_news.wait()
            await self._is_answered.wait()
            self._has_news.clear()
            try:
                await self._subscribe(self._feeds - self._followed)
            except SfuError as error:
                logger.info("%s does not receive everybody yet: %s", self.peer_id, error)
                await asyncio.sleep(AGAIN_SECONDS)
                self._has_news.set()

    async def _subscribe(self, feeds: set[str]) -> None:
        if not feeds:
            return
        streams = [{"feed": feed} for feed in sorted(feeds)]
        try:
            if self._subscriber is None:
                await self._begin_to_receive(streams)
            else:
                self._subscriber_heard(await self._subscriber.ask("subscribe", streams=streams))
        except SfuRefused as refusal:
            if refusal.code == NO_SUCH_FEED:  # one has gone again
                publishing = await self.sfu.publishing(self.room)
                self._feeds &= {peer for peer, does in publishing.items() if does}
            raise
        self._followed |= feeds

    async def _begin_to_receive(self, streams: list[Message]) -> None:
        assert self._session is not None
        subscriber = await self._session.attach(self._subscriber_heard)
        self._connection = 1 + secrets.randbelow(2**31)
        self._subscriber = subscriber
        try:
            offered = await subscriber.ask(
                "join", ptype="subscriber", room=self.sfu.name(self.room), streams=streams
            )
        except SfuError:
            self._forget_subscriber()
            subscriber.detach()
            raise
        self._subscriber_heard(offered)

    def _forget_subscriber(self) -> None:
        """Have the next offer be of another connection."""
        self._subscriber = self._offer = None
        self._followed = set()
        self._is_answered.set()
        self._has_news.set()

    def _subscriber_heard(self, message: Message) -> None:
        if message["janus"] == "hangup":
            if self._subscriber is not None:
                self._subscriber.detach()
            self._forget_subscriber()
        elif message["janus"] == "trickle":
            self.listener.trickled("subscribe", message["candidate"])
        elif "jsep" in message:
            if "streams" not in message["data"] and self._last_streams:
                message["data"]["streams"] = self._last_streams
            self._offer_again(message)

    _last_streams: list[Message] | None = None

    def _offer_again(self, offered: Message) -> None:
        self._offer = offered
        self._is_answered.clear()
        self._last_streams = offered["data"].get("streams", [])
        offer = {"type": "offer", "sdp": offered["jsep"]["sdp"]}
        self.listener.offered(offer, _streams(self._last_streams), self._connection)


def _streams(summary: list[Message] | None) -> list[Stream]:
    return [
        Stream(stream["mid"], stream["feed_id"], stream["type"])
        for stream in summary or ()
        if stream.get("active") and "feed_id" in stream and stream["type"] in {"audio", "video"}
    ]


def _trickled(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as Janus wants it; a bare line is of the first section, which bundles all."""
    if not candidate:
        return {"completed": True}
    if isinstance(candidate, str):
        return {"candidate": candidate, "sdpMLineIndex": 0}
    return candidate if candidate.get("candidate") else {"completed": True}
