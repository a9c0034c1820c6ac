"""The one connection on which a peer receives everybody else: a multistream subscriber of the VideoRoom."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from signalling.sfu.base import (
    Candidate,
    Description,
    Listener,
    SfuError,
    SfuRefused,
    SfuRoom,
    SfuUnavailableError,
    Stream,
)

from .connection import Message
from .sdp import readable, trickled
from .session import Handle, JanusSession

if TYPE_CHECKING:
    from . import JanusSfu

logger = logging.getLogger("signalling")

NO_SUCH_FEED = 428
AGAIN_SECONDS = 1.0  # after a subscription that has failed


class Receiver:
    """Subscribes to whoever publishes, as they come and go; one offer at a time."""

    def __init__(self, sfu: JanusSfu, room: SfuRoom, peer_id: str, listener: Listener) -> None:
        self.sfu = sfu
        self.room = room
        self.peer_id = peer_id
        self.listener = listener
        self._session: JanusSession | None = None
        self._handle: Handle | None = None
        self._connection = 0
        self._feeds: set[str] = set()  # who publishes
        self._followed: set[str] = set()  # whom the handle was asked to carry
        self._streams: list[Message] = []  # as Janus has last described them
        self._offer: Description | None = None  # the one that is not answered yet
        self._is_answered = asyncio.Event()
        self._has_news = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    # --- Who publishes ------------------------------------------------------------------------

    def begin(self, session: JanusSession, feeds: Iterable[str]) -> None:
        """Know these, and whoever was heard of since ``stop``; ``follow`` receives them."""
        self._session = session
        self._feeds |= {*feeds}
        self.forget_connection()

    def follow(self) -> None:
        """Receive whoever publishes, from now on."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow())

    def stop(self) -> None:
        self._session = self._handle = None
        self._feeds = set()
        if self._following is not None:
            self._following.cancel()
            self._following = None

    def heard_in_room(self, data: Message) -> None:
        """Janus says who publishes now, and who does no more."""
        for feed in data.get("publishers", ()):
            self._feeds.add(feed["id"])
            self._has_news.set()
        for key in ("unpublished", "leaving", "kicked"):
            self._feeds.discard(data.get(key))
            self._followed.discard(data.get(key))  # who publishes again is subscribed to again
        if "kicked" in data:  # of which subscribers hear nothing else, in Janus 1.1
            self._has_news.set()

    async def look_again(self) -> None:
        """Ask who publishes: what was said of it may not have been heard. Never raises."""
        try:
            await self._refresh()
        except SfuError as error:
            logger.warning("%s does not know whom to receive: %s", self.peer_id, error)

    async def _refresh(self) -> None:
        known = {*self._feeds}
        publishing = await self.sfu.publishing(self.room)
        new = self._feeds - known  # came with the answer, and may not be in it
        self._feeds = new | {peer for peer, does in publishing.items() if does} - {self.peer_id}
        self._followed &= self._feeds
        self._has_news.set()

    # --- The client's side --------------------------------------------------------------------

    async def answer(self, answer: Description, connection: int | None) -> None:
        if self._offer is None or self._handle is None or not self._is_current(connection):
            return
        handle, open_offer, self._offer = self._handle, self._offer, None
        try:
            await handle.ask("start", jsep=readable(answer))
        except SfuError:
            if handle is self._handle:
                self._offer = self._offer or open_offer
            raise
        if self._offer is None:  # Janus may have offered again with the same breath
            self._is_answered.set()

    def trickle(self, candidate: Candidate, connection: int | None) -> None:
        if self._handle is not None and self._is_current(connection):
            self._handle.trickle(trickled(candidate))

    def _is_current(self, connection: int | None) -> bool:
        """Tell whether this is the connection that is offered now; a client need not say which it means."""
        return connection in {None, self._connection}

    def restart(self) -> None:
        if self._offer is not None:
            self._offer_again()
        elif self._handle is not None:
            self._handle.tell("configure", restart=True)

    def forget_connection(self) -> None:
        """Have the next offer be of another connection; Janus ends the old one when its client does."""
        self._handle = self._offer = None
        self._streams, self._followed = [], set()
        self._is_answered.set()
        self._has_news.set()

    # --- Subscriptions ------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._has_news.wait()
            await self._is_answered.wait()
            self._has_news.clear()
            try:
                await self._unsubscribe()
                await self._subscribe(self._feeds - self._followed)
            except SfuError as error:
                logger.info("%s does not receive everybody yet: %s", self.peer_id, error)
                await self._try_later()
            except Exception:
                logger.exception("%s does not receive everybody", self.peer_id)
                await self._try_later()

    async def _try_later(self) -> None:
        await asyncio.sleep(AGAIN_SECONDS)
        self._has_news.set()

    async def _subscribe(self, feeds: set[str]) -> None:
        if not feeds:
            return
        streams = [{"feed": feed} for feed in sorted(feeds)]
        try:
            if self._handle is None:
                await self._connect(streams)
            else:
                await self._change(self._handle, "subscribe", streams)
        except SfuRefused as refusal:
            if refusal.code == NO_SUCH_FEED:  # one has gone again, and Janus takes none then
                await self._refresh()
            raise
        self._followed |= feeds

    async def _unsubscribe(self) -> None:
        """Let go of the sections of those who were kicked; others let go of theirs by themselves."""
        gone = [stream for stream in _named(self._streams) if stream.peer_id not in self._feeds]
        if gone and self._handle is not None:
            await self._change(
                self._handle, "unsubscribe", [{"sub_mid": stream.mid} for stream in gone]
            )

    async def _change(self, handle: Handle, request: str, streams: list[Message]) -> None:
        try:
            self._heard(handle, await handle.ask(request, streams=streams))
        except (
            SfuUnavailableError
        ):  # it may have been heard, and to say it twice would double the streams
            self.forget_connection()
            raise

    async def _connect(self, streams: list[Message]) -> None:
        assert self._session is not None
        handle = await self._session.attach(self._heard)
        self._handle, self._connection = handle, 1 + secrets.randbelow(2**31)
        name = self.sfu.name(self.room)
        try:
            joined = await handle.ask("join", ptype="subscriber", room=name, streams=streams)
        except SfuError:
            self._handle = None
            handle.detach()
            raise
        self._heard(handle, joined)

    def _heard(self, handle: Handle, message: Message) -> None:
        if message["janus"] == "hangup":
            handle.detach()
        if handle is not self._handle:  # one that another has taken the place of
            return
        if message["janus"] == "hangup":
            self.forget_connection()
        elif message["janus"] == "trickle":
            self.listener.trickled("subscribe", message["candidate"])
        elif "jsep" in message:
            self._streams = message["data"].get("streams", self._streams)  # a restart has none
            self._offer = {"type": "offer", "sdp": message["jsep"]["sdp"]}
            self._is_answered.clear()
            self._offer_again()

    def _offer_again(self) -> None:
        if self._offer is not None:
            self.listener.offered(self._offer, _named(self._streams), self._connection)


def _named(summary: list[Message]) -> list[Stream]:
    """Return the sections that carry somebody."""
    return [
        Stream(stream["mid"], stream["feed_id"], stream["type"])
        for stream in summary
        if stream.get("active") and "feed_id" in stream and stream["type"] in {"audio", "video"}
    ]
