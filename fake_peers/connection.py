"""One RTCPeerConnection of aiortc, and what aiortc leaves to whoever uses it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal
from weakref import WeakKeyDictionary

import aioice.ice
import aiortc.rtcrtpreceiver
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.sdp import SessionDescription, candidate_from_sdp

from .media import Clip, Replay

Description = dict[str, Any]
"""RTCSessionDescriptionInit."""
Took = Callable[[str, str], None]
"""Told of each frame: the ``mid`` of the section that it came in, and its kind."""
Direction = Literal["sendrecv", "sendonly"]

MAX_EARLY = 200  # candidates kept for a description that has not come
VP8 = ("video/VP8", "video/rtx")
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class Line:
    """A connection. ``took`` is told of each frame that it decodes, ``changed`` of each new state."""

    def __init__(
        self,
        ice_servers: Sequence[RTCIceServer],
        *,
        took: Took,
        changed: Callable[[], None],
        bundle: RTCBundlePolicy = RTCBundlePolicy.BALANCED,
    ) -> None:
        """``bundle``: aiortc gets a balanced one wrong where there is more than one section of a kind, and
        a maximal one where sections of ours are offered in another order.
        """
        self.pc = RTCPeerConnection(
            RTCConfiguration(iceServers=[*ice_servers], bundlePolicy=bundle)
        )
        self._took = took
        self._early: list[RTCIceCandidate | None] = []
        self._answered: Description = {}  # the offer that was answered last
        self._tasks: set[asyncio.Task[None]] = set()
        self.pc.on("track", self._receive)
        self.pc.on("connectionstatechange", changed)

    @property
    def is_connected(self) -> bool:
        return self.pc.connectionState == "connected"

    @property
    def is_over(self) -> bool:
        return self.pc.connectionState in {"failed", "closed"}

    @property
    def waits_for_an_answer(self) -> bool:
        return self.pc.signalingState == "have-local-offer"

    def is_of(self, offer: Description) -> bool:
        """Tell whether an offer is by the RTCPeerConnection that this one knows, if it knows any."""
        known = self.pc.remoteDescription
        return known is None or _origin(known.sdp) == _origin(offer["sdp"])

    def send(self, clips: Iterable[Clip], direction: Direction) -> None:
        """Have a section for each clip; a line that receives has one for audio in any case."""
        kinds = set()
        for clip in clips:
            transceiver = self.pc.addTransceiver(Replay(clip), direction)
            if clip.kind == "video":
                codecs = RTCRtpSender.getCapabilities("video").codecs
                transceiver.setCodecPreferences([c for c in codecs if c.mimeType in VP8])
            kinds.add(clip.kind)
        if direction == "sendrecv" and "audio" not in kinds:
            self.pc.addTransceiver("audio", "recvonly")

    async def offer(self) -> Description:
        """Return an offer; all our candidates are in it."""
        async with _turn():
            offer = await self.pc.createOffer()
        await self.pc.setLocalDescription(offer)
        return self._ours()

    async def answer(self, offer: Description) -> Description:
        """Return the answer to an offer, the same one if it is the same offer again."""
        if offer != self._answered:
            await self._hear(offer)
            async with _turn():
                answer = await self.pc.createAnswer()
            await self.pc.setLocalDescription(answer)
            self._answered = offer
        return self._ours()

    async def accept(self, answer: Description) -> None:
        """Take an answer; one that answers nothing any more is left alone."""
        if self.waits_for_an_answer:
            await self._hear(answer)

    async def candidate(self, said: dict[str, Any] | str | None) -> None:
        candidate = _read(said)
        if self.pc.remoteDescription is not None:
            await self._add(candidate)
        elif len(self._early) < MAX_EARLY:
            self._early.append(candidate)

    async def close(self) -> None:
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hear(self, description: Description) -> None:
        parsed = RTCSessionDescription(sdp=description["sdp"], type=description["type"])
        async with _turn():
            await self.pc.setRemoteDescription(parsed)
            self._learn_sources(description["sdp"])
        early, self._early = self._early, []
        for candidate in early:
            await self._add(candidate)

    def _learn_sources(self, sdp: str) -> None:
        """Know the SSRCs of a section that is used again: aiortc looks at those of its first use alone."""
        sections = {media.rtp.muxId: media for media in SessionDescription.parse(sdp).media}
        for transceiver in self.pc.getTransceivers():
            router = transceiver.receiver.transport._rtp_router
            if transceiver.mid in sections and transceiver.receiver in router.receivers:
                for source in sections[transceiver.mid].ssrc:
                    router.ssrc_table[source.ssrc] = transceiver.receiver

    async def _add(self, candidate: RTCIceCandidate | None) -> None:
        with suppress(ValueError, OSError):  # of a kind or a name that aioice does not know
            await self.pc.addIceCandidate(candidate)

    def _ours(self) -> Description:
        return {"type": self.pc.localDescription.type, "sdp": self.pc.localDescription.sdp}

    def _receive(self, track: MediaStreamTrack) -> None:
        task = asyncio.create_task(self._take(track))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self, track: MediaStreamTrack) -> None:
        transceivers = self.pc.getTransceivers()
        mid = next(t.mid or "" for t in transceivers if t.receiver.track is track)
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                self._took(mid, track.kind)


def _turn() -> asyncio.Lock:
    """Negotiations of one event loop take turns, so that between two of them everybody's sound goes on."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def restarts_ice(line: Line, offer: Description) -> bool:
    """Tell whether an offer has other ICE credentials than before: more than aiortc can do."""
    known = line.pc.remoteDescription
    return known is not None and _credentials(known.sdp) != _credentials(offer["sdp"])


def stay_on_this_machine() -> None:
    """Have candidates of one address of this machine alone, though not of the loopback.

    Janus has none there, and cannot send there (libnice binds its sockets to an interface). What is sent to
    an own address does not leave the machine either.
    """
    addresses = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=False)[:1]
    chosen = addresses or ["127.0.0.1"]
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: chosen


def estimate_nothing() -> None:
    """Have aiortc estimate no bandwidth: in a crowd that is a third of all that it does."""
    vars(aiortc.rtcrtpreceiver)["RemoteBitrateEstimator"] = _NoEstimator


class _NoEstimator:
    def add(self, **packet: int) -> None:
        """Know nothing of what senders may send."""


def ice_servers(said: Iterable[dict[str, Any]]) -> list[RTCIceServer]:
    """Read the ``iceServers`` of ``room:joined``."""
    return [
        RTCIceServer(server["urls"], server.get("username"), server.get("credential"))
        for server in said
    ]


def _read(said: dict[str, Any] | str | None) -> RTCIceCandidate | None:
    init: dict[str, Any] = said if isinstance(said, dict) else {"candidate": said}
    line = (init["candidate"] or "").removeprefix("a=").removeprefix("candidate:")
    if not line:
        return None
    candidate = candidate_from_sdp(line)
    candidate.sdpMid, candidate.sdpMLineIndex = init.get("sdpMid"), init.get("sdpMLineIndex")
    if candidate.sdpMid is None and candidate.sdpMLineIndex is None:
        candidate.sdpMLineIndex = 0
    return candidate


def _origin(sdp: str) -> set[str]:
    return set(re.findall(r"^a=fingerprint:(\S+ \S+)", sdp, re.MULTILINE))


def _credentials(sdp: str) -> set[str]:
    return set(re.findall(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE))
