"""A peer with real media and direct access to an SFU backend, without signalling."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from fake_peers.media import Replay, picture, tone
from signalling.sfu.base import Candidate, Claim, Description, Direction, Sfu, SfuRoom, Stream

TIMEOUT_SECONDS = 10.0


class MediaPeer:
    """Publishes a picture and a tone, and counts the frames received, by peer and kind.

    Implements ``Listener``.
    """

    def __init__(self, sfu: Sfu, room: SfuRoom, peer_id: str) -> None:
        self.id = peer_id
        self.transports = sfu.create_transports(room, peer_id, self)
        self.claim: Claim = {}
        self.resets = 0
        self.offers: list[list[Stream]] = []
        self.connections: list[int] = []
        self.received: Counter[tuple[str, str]] = Counter()
        self._connections: dict[int, RTCPeerConnection] = {}
        self._publishing: list[RTCPeerConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def open(self, claim: Claim | None = None) -> None:
        self.claim = await self.transports.open(claim)

    async def publish(self) -> None:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._publishing.append(connection)
        for clip in (tone(1), picture(1, fps=20)):
            connection.addTransceiver(Replay(clip), direction="sendonly")
        await connection.setLocalDescription(await connection.createOffer())
        answer = await self.transports.publish(_local_description(connection))
        await connection.setRemoteDescription(RTCSessionDescription(**answer))

    async def close_publisher(self) -> None:
        """Close the publishing connection of the client."""
        await self._publishing[-1].close()

    async def close_subscription(self, number: int) -> None:
        """Close a receiving connection of the client."""
        await self._connections[number].close()

    async def receive_frames(self, peer_id: str, kind: str = "video", *, more: int = 5) -> None:
        """Wait until ``more`` further frames of a peer have arrived."""
        wanted = self.received[peer_id, kind] + more
        await self.wait_until(lambda: self.received[peer_id, kind] >= wanted)

    async def wait_until(self, check: Any) -> None:
        try:
            async with self._changed, asyncio.timeout(TIMEOUT_SECONDS):
                await self._changed.wait_for(check)
        except TimeoutError:
            state = f"{dict(self.received)}, offers {self.offers}, resets {self.resets}"
            raise AssertionError(f"{self.id} timed out: {state}") from None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in (*self._publishing, *self._connections.values()):
            await connection.close()

    # --- Listener -----------------------------------------------------------------------------

    def on_offer(self, offer: Description, streams: list[Stream], connection: int) -> None:
        self.offers.append(streams)
        self.connections.append(connection)
        self._spawn(self._answer(offer, connection))
        self._spawn(self._notify())

    def on_candidate(self, direction: Direction, candidate: Candidate) -> None:
        raise AssertionError("Janus sends its candidates in its descriptions")

    def on_claim_changed(self, claim: Claim) -> None:
        self.claim = claim

    def on_reset(self, claim: Claim) -> None:
        self.claim = claim
        self.resets += 1
        self._spawn(self._notify())

    # --- Internal -------------------------------------------------------------------------------

    async def _answer(self, offer: Description, number: int) -> None:
        connection = self._connections.get(number) or self._new_connection(number)
        await connection.setRemoteDescription(RTCSessionDescription(**offer))
        await connection.setLocalDescription(await connection.createAnswer())
        await self.transports.answer(_local_description(connection), number)

    def _new_connection(self, number: int) -> RTCPeerConnection:
        # aiortc mishandles other policies with several sections of a kind.
        options = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        connection = self._connections[number] = RTCPeerConnection(options)

        @connection.on("track")
        def on_track(track: Any) -> None:
            mids = {id(t.receiver.track): t.mid for t in connection.getTransceivers()}
            self._spawn(self._count(track, mids[id(track)]))

        return connection

    async def _count(self, track: Any, mid: str | None) -> None:
        while True:
            try:
                await track.recv()
            except MediaStreamError:
                return
            source = {stream.mid: stream for stream in self.offers[-1]}.get(mid or "")
            if source is not None:
                self.received[source.peer_id, source.kind] += 1
                await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _local_description(connection: RTCPeerConnection) -> Description:
    description = connection.localDescription
    return {"type": description.type, "sdp": description.sdp}


async def wait_until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110  (another process changes)
            await asyncio.sleep(0.02)
