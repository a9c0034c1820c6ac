"""An RTCPeerConnection of aiortc, with the parts of WebRTC that aiortc leaves to its users."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal
from weakref import WeakKeyDictionary

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
Candidate = dict[str, Any] | str | None
"""RTCIceCandidateInit, a bare candidate line, or None for the end of candidates."""
OnFrame = Callable[[str, str], None]
"""Called for each decoded frame with the ``mid`` of its section and its kind."""
Direction = Literal["sendrecv", "sendonly"]

MAX_EARLY_CANDIDATES = 200  # kept until the remote description is set
VP8 = ("video/VP8", "video/rtx")
_negotiation_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class PeerConnection:
    """One connection. ``on_change`` is called for each change of its connection state.

    ``bundle_policy``: aiortc mishandles the balanced policy with several sections of a kind, and the
    max-bundle policy if our own sections are offered in a different order.
    """

    def __init__(
        self,
        ice_servers: Sequence[RTCIceServer],
        *,
        on_frame: OnFrame,
        on_change: Callable[[], None],
        bundle_policy: RTCBundlePolicy = RTCBundlePolicy.BALANCED,
    ) -> None:
        self.pc = RTCPeerConnection(
            RTCConfiguration(iceServers=[*ice_servers], bundlePolicy=bundle_policy)
        )
        self._on_frame = on_frame
        self._early_candidates: list[RTCIceCandidate | None] = []
        self._answered_offer: Description = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.pc.on("track", self._receive_track)
        self.pc.on("connectionstatechange", on_change)

    @property
    def is_connected(self) -> bool:
        return self.pc.connectionState == "connected"

    @property
    def has_ended(self) -> bool:
        return self.pc.connectionState in {"failed", "closed"}

    @property
    def has_pending_offer(self) -> bool:
        """An offer of ours awaits its answer."""
        return self.pc.signalingState == "have-local-offer"

    def is_from_remote(self, offer: Description) -> bool:
        """Return whether an offer comes from the RTCPeerConnection that this one negotiated with.

        True if it has not negotiated yet.
        """
        remote = self.pc.remoteDescription
        return remote is None or _fingerprints(remote.sdp) == _fingerprints(offer["sdp"])

    def restarts_ice(self, offer: Description) -> bool:
        """Return whether an offer has new ICE credentials. aiortc cannot restart ICE."""
        remote = self.pc.remoteDescription
        return remote is not None and _ice_credentials(remote.sdp) != _ice_credentials(offer["sdp"])

    def add_clips(self, clips: Iterable[Clip], direction: Direction) -> None:
        """Add a section for each clip. A connection that also receives always has one for audio."""
        kinds = set()
        for clip in clips:
            transceiver = self.pc.addTransceiver(Replay(clip), direction)
            if clip.kind == "video":
                codecs = RTCRtpSender.getCapabilities("video").codecs
                transceiver.setCodecPreferences([c for c in codecs if c.mimeType in VP8])
            kinds.add(clip.kind)
        if direction == "sendrecv" and "audio" not in kinds:
            self.pc.addTransceiver("audio", "recvonly")

    async def create_offer(self) -> Description:
        """Set and return an offer. It contains all local candidates."""
        async with _negotiation_lock():
            offer = await self.pc.createOffer()
        await self.pc.setLocalDescription(offer)
        return self._local_description()

    async def create_answer(self, offer: Description) -> Description:
        """Set an offer and return the answer. Returns the same answer for a repeated offer."""
        if offer != self._answered_offer:
            await self._set_remote_description(offer)
            async with _negotiation_lock():
                answer = await self.pc.createAnswer()
            await self.pc.setLocalDescription(answer)
            self._answered_offer = offer
        return self._local_description()

    async def set_answer(self, answer: Description) -> None:
        """Set an answer. Ignores it if no offer is pending, or if another one follows it."""
        if self.has_pending_offer and answer["type"] == "answer":
            await self._set_remote_description(answer)

    async def add_candidate(self, candidate: Candidate) -> None:
        parsed = _parse_candidate(candidate)
        if self.pc.remoteDescription is not None:
            await self._add_candidate(parsed)
        elif len(self._early_candidates) < MAX_EARLY_CANDIDATES:
            self._early_candidates.append(parsed)

    async def close(self) -> None:
        await self.pc.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set_remote_description(self, description: Description) -> None:
        parsed = RTCSessionDescription(sdp=description["sdp"], type=description["type"])
        async with _negotiation_lock():
            await self.pc.setRemoteDescription(parsed)
            self._register_ssrcs(description["sdp"])
        early, self._early_candidates = self._early_candidates, []
        for candidate in early:
            await self._add_candidate(candidate)

    def _register_ssrcs(self, sdp: str) -> None:
        """Register the SSRCs of reused sections: aiortc only reads those of their first use."""
        sections = {media.rtp.muxId: media for media in SessionDescription.parse(sdp).media}
        for transceiver in self.pc.getTransceivers():
            router = transceiver.receiver.transport._rtp_router
            if transceiver.mid in sections and transceiver.receiver in router.receivers:
                for source in sections[transceiver.mid].ssrc:
                    router.ssrc_table[source.ssrc] = transceiver.receiver

    async def _add_candidate(self, candidate: RTCIceCandidate | None) -> None:
        with suppress(ValueError, OSError):  # aioice does not support its type or its hostname
            await self.pc.addIceCandidate(candidate)

    def _local_description(self) -> Description:
        return {"type": self.pc.localDescription.type, "sdp": self.pc.localDescription.sdp}

    def _receive_track(self, track: MediaStreamTrack) -> None:
        task = asyncio.create_task(self._receive_frames(track))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _receive_frames(self, track: MediaStreamTrack) -> None:
        transceivers = self.pc.getTransceivers()
        mid = next(t.mid or "" for t in transceivers if t.receiver.track is track)
        with suppress(MediaStreamError):
            while True:
                await track.recv()
                self._on_frame(mid, track.kind)


def parse_ice_servers(servers: Iterable[dict[str, Any]]) -> list[RTCIceServer]:
    """Parse the ``iceServers`` of ``room:joined``."""
    return [
        RTCIceServer(server["urls"], server.get("username"), server.get("credential"))
        for server in servers
    ]


def _negotiation_lock() -> asyncio.Lock:
    """Return the lock for the negotiations of the running event loop.

    Negotiating blocks the loop for a while. One at a time, media continues in between.
    """
    return _negotiation_locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def _parse_candidate(candidate: Candidate) -> RTCIceCandidate | None:
    init: dict[str, Any] = candidate if isinstance(candidate, dict) else {"candidate": candidate}
    line = (init["candidate"] or "").removeprefix("a=").removeprefix("candidate:")
    if not line:
        return None
    parsed = candidate_from_sdp(line)
    parsed.sdpMid, parsed.sdpMLineIndex = init.get("sdpMid"), init.get("sdpMLineIndex")
    if parsed.sdpMid is None and parsed.sdpMLineIndex is None:
        parsed.sdpMLineIndex = 0
    return parsed


def _fingerprints(sdp: str) -> set[str]:
    return set(re.findall(r"^a=fingerprint:(\S+ \S+)", sdp, re.MULTILINE))


def _ice_credentials(sdp: str) -> set[str]:
    return set(re.findall(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE))
