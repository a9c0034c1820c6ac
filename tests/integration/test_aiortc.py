"""A call between two aiortc programs, without a browser, with the core events only."""

from __future__ import annotations

import asyncio
from typing import Any

import aioice.ice
import pytest
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp

from signalling.testing import SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture(autouse=True)
def _loopback_candidates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: ["127.0.0.1"])


class Program:
    """One end of the call. Sends its candidates separately from its descriptions."""

    def __init__(self, client: SignallingCommunicator, peer_id: str) -> None:
        self.client = client
        self.remote_peer_id = peer_id
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    async def send_description(self, kind: str) -> None:
        """Send an offer or an answer, then the candidates one by one."""
        create = self.connection.createOffer if kind == "offer" else self.connection.createAnswer
        await self.connection.setLocalDescription(await create())
        lines = self.connection.localDescription.sdp.split("\r\n")
        candidates = [line.removeprefix("a=") for line in lines if "a=candidate:" in line]
        sdp = "\r\n".join(line for line in lines if "candidate" not in line)
        await self.send(f"webrtc:{kind}", {kind: {"type": kind, "sdp": sdp}})
        for candidate in candidates:
            init = {"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0}
            await self.send("webrtc:ice", {"candidate": init})
        await self.send("webrtc:ice", {"candidate": None})

    async def send(self, event: str, data: dict[str, Any]) -> None:
        await self.client.send(event, {"targetPeerId": self.remote_peer_id, **data})

    async def receive_description(self, kind: str) -> None:
        """Receive the description of the other end and all of its candidates."""
        data = await self.client.receive(f"webrtc:{kind}")
        assert data["fromPeerId"] == self.remote_peer_id
        await self.connection.setRemoteDescription(RTCSessionDescription(**data[kind]))
        while init := (await self.client.receive("webrtc:ice"))["candidate"]:
            candidate = candidate_from_sdp(init["candidate"].removeprefix("candidate:"))
            candidate.sdpMid, candidate.sdpMLineIndex = init["sdpMid"], init["sdpMLineIndex"]
            await self.connection.addIceCandidate(candidate)
        await self.connection.addIceCandidate(None)


async def test_two_programs_complete_a_call_with_a_data_channel(site: Site) -> None:
    room = site.room()
    async with site.client("alice") as alice, site.client("bob") as bob:
        await alice.join(room)
        (host,) = (await bob.join(room))["peers"]
        joined = (await alice.receive("peer:joined"))["peerId"]
        caller, callee = Program(bob, host["id"]), Program(alice, joined)
        received: asyncio.Queue[str] = asyncio.Queue()
        channel = caller.connection.createDataChannel("chat")
        channel.on("message", received.put_nowait)
        channel.on("open", lambda: channel.send("hello"))

        @callee.connection.on("datachannel")
        def answer(remote_channel: RTCDataChannel) -> None:
            remote_channel.on("message", lambda text: remote_channel.send(f"{text} yourself"))

        try:
            await caller.send_description("offer")
            await callee.receive_description("offer")
            await callee.send_description("answer")
            await caller.receive_description("answer")
            assert await asyncio.wait_for(received.get(), 20) == "hello yourself"
            for program in (caller, callee):
                assert program.connection.connectionState == "connected"
        finally:
            await asyncio.gather(caller.connection.close(), callee.connection.close())
        await alice.receive_nothing()
        await bob.receive_nothing()
