"""The receiving connection of one peer: a multistream subscriber of the VideoRoom plugin."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable

from signalling.sfu.base import (
    Candidate,
    Description,
    Listener,
    SfuError,
    SfuRequestFailed,
    SfuRoom,
    SfuUnavailable,
    Stream,
)

from .connection import Message
from .sdp import janus_candidate, janus_description
from .session import Handle, JanusSession
from .videoroom import NO_SUCH_FEED, VideoRoom

logger = logging.getLogger("signalling")

RETRY_SECONDS = 1.0


class Subscriber:
    """Subscribes a peer to all other publishers of its room, as they come and go.

    At most one offer is pending at a time.
    """

    def __init__(
        self, videoroom: VideoRoom, room: SfuRoom, peer_id: str, listener: Listener
    ) -> None:
        self.videoroom = videoroom
        self.room = room
        self.peer_id = peer_id
        self.listener = listener
        self._session: JanusSession | None = None
        self._handle: Handle | None = None
        self._connection = 0
        self._publishers: set[str] = set()  # the ids of the room's publishers
        self._subscribed: set[str] = set()  # the publishers in the subscription
        self._streams: list[Message] = []  # as Janus last described them
        self._offer: Description | None = None  # the pending offer
        self._answered = asyncio.Event()  # set while no offer is pending
        self._changed = asyncio.Event()  # set when subscriptions may need an update
        self._updating: asyncio.Task[None] | None = None

    # --- Publishers ---------------------------------------------------------------------------

    def attach(self, session: JanusSession, publishers: Iterable[str]) -> None:
        """Use a session, and add the current publishers to those already known.

        Events from the room may have arrived before the response that lists the publishers.
        """
        self._session = session
        self._publishers |= {*publishers}
        self.reconnect()

    def start(self) -> None:
        """Keep the peer subscribed to all publishers from now on."""
        if self._updating is None:
            self._updating = asyncio.create_task(self._update_subscriptions())

    def stop(self) -> None:
        """Forget the session, the handle and the publishers."""
        self._session = self._handle = None
        self._publishers = set()
        if self._updating is not None:
            self._updating.cancel()
            self._updating = None

    def on_room_event(self, data: Message) -> None:
        """Update the publishers from an event of the room."""
        for publisher in data.get("publishers", ()):
            self._publishers.add(publisher["id"])
            self._changed.set()
        for key in ("unpublished", "leaving", "kicked"):
            self._publishers.discard(data.get(key))
            self._subscribed.discard(data.get(key))  # if it publishes again, subscribe again
        if "kicked" in data:  # Janus 1.1 sends subscribers no other event for it
            self._changed.set()

    async def refresh(self) -> None:
        """Request the publishers, because events may have been missed. Never raises ``SfuError``."""
        try:
            await self._refresh()
        except SfuError as error:
            logger.warning("Could not list the publishers for %s: %s", self.peer_id, error)

    async def _refresh(self) -> None:
        known = {*self._publishers}
        participants = await self.videoroom.list_participants(self.room)
        publishers = {peer for peer, is_publisher in participants.items() if is_publisher}
        new = self._publishers - known  # announced after the response was made
        self._publishers = new | publishers - {self.peer_id}
        self._subscribed &= self._publishers
        self._changed.set()

    # --- Negotiation with the client ----------------------------------------------------------

    async def answer(self, answer: Description, connection: int | None) -> None:
        """See ``Transports.answer``."""
        if self._offer is None or self._handle is None or not self._is_current(connection):
            return
        handle, answered_offer, self._offer = self._handle, self._offer, None
        try:
            await handle.request("start", jsep=janus_description(answer))
        except SfuError:
            if handle is self._handle:
                self._offer = self._offer or answered_offer
            raise
        if self._offer is None:  # Janus may have sent another offer with its response
            self._answered.set()

    def trickle(self, candidate: Candidate, connection: int | None) -> None:
        if self._handle is not None and self._is_current(connection):
            self._handle.trickle(janus_candidate(candidate))

    def _is_current(self, connection: int | None) -> bool:
        """Return whether ``connection`` is the offered connection. Clients may omit it."""
        return connection in {None, self._connection}

    def restart(self) -> None:
        """Send the pending offer again, or request an offer that restarts ICE."""
        if self._offer is not None:
            self._send_offer()
        elif self._handle is not None:
            self._handle.send("configure", restart=True)

    def reconnect(self) -> None:
        """Use a new connection from the next offer on.

        Janus closes the old connection when the client does.
        """
        self._handle = self._offer = None
        self._streams, self._subscribed = [], set()
        self._answered.set()
        self._changed.set()

    # --- Subscriptions ------------------------------------------------------------------------

    async def _update_subscriptions(self) -> None:
        while True:
            await self._changed.wait()
            await self._answered.wait()
            self._changed.clear()
            try:
                await self._unsubscribe()
                await self._subscribe(self._publishers - self._subscribed)
            except SfuError as error:
                logger.info(
                    "Could not subscribe %s to all publishers, retrying: %s", self.peer_id, error
                )
                await self._retry_later()
            except Exception:
                logger.exception("Subscribing %s failed", self.peer_id)
                await self._retry_later()

    async def _retry_later(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._changed.set()

    async def _subscribe(self, publishers: set[str]) -> None:
        if not publishers:
            return
        streams = [{"feed": peer_id} for peer_id in sorted(publishers)]
        try:
            if self._handle is None:
                await self._connect(streams)
            else:
                await self._change(self._handle, "subscribe", streams)
        except SfuRequestFailed as error:
            if error.code == NO_SUCH_FEED:  # one has left, and Janus rejects the entire request
                await self._refresh()
            raise
        self._subscribed |= publishers

    async def _unsubscribe(self) -> None:
        """Free the sections of kicked publishers. Janus frees those of other publishers itself."""
        gone = [s for s in _active_streams(self._streams) if s.peer_id not in self._publishers]
        if gone and self._handle is not None:
            streams = [{"sub_mid": stream.mid} for stream in gone]
            await self._change(self._handle, "unsubscribe", streams)

    async def _change(self, handle: Handle, request: str, streams: list[Message]) -> None:
        try:
            self._on_message(handle, await handle.request(request, streams=streams))
        except SfuUnavailable:
            # Janus may have processed the request. Repeating it would duplicate the streams.
            self.reconnect()
            raise

    async def _connect(self, streams: list[Message]) -> None:
        assert self._session is not None
        handle = await self._session.attach(self._on_message)
        self._handle, self._connection = handle, 1 + secrets.randbelow(2**31)
        name = self.videoroom.name(self.room)
        try:
            joined = await handle.request("join", ptype="subscriber", room=name, streams=streams)
        except SfuError:
            self._handle = None
            handle.detach()
            raise
        self._on_message(handle, joined)

    def _on_message(self, handle: Handle, message: Message) -> None:
        if message["janus"] == "hangup":
            handle.detach()
        if handle is not self._handle:  # it has been replaced
            return
        if message["janus"] == "hangup":
            self.reconnect()
        elif message["janus"] == "trickle":
            self.listener.on_candidate("subscribe", message["candidate"])
        elif "jsep" in message:
            self._streams = message["data"].get("streams", self._streams)  # a restart has none
            self._offer = {"type": "offer", "sdp": message["jsep"]["sdp"]}
            self._answered.clear()
            self._send_offer()

    def _send_offer(self) -> None:
        if self._offer is not None:
            self.listener.on_offer(self._offer, _active_streams(self._streams), self._connection)


def _active_streams(streams: list[Message]) -> list[Stream]:
    """Return the sections that carry media of a publisher."""
    return [
        Stream(stream["mid"], stream["feed_id"], stream["type"])
        for stream in streams
        if stream.get("active") and "feed_id" in stream and stream["type"] in {"audio", "video"}
    ]
