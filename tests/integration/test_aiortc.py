"""A call between two programs that no browser shaped: aiortc, with the seed's events alone."""

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
def _on_the_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: ["127.0.0.1"])


class Caller:
    """One program with one connection; its candidates travel apart from its descriptions."""

    def __init__(self, client: SignallingCommunicator, peer_id: str) -> None:
        self.client = client
        self.peer_id = peer_id  # the other one's
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    async def describes(self, kind: str) -> None:
        """Send an offer or an answer, and then the candidates one by one."""
        make = self.connection.createOffer if kind == "offer" else self.connection.createAnswer
        await self.connection.setLocalDescription(await make())
        lines = self.connection.localDescription.sdp.split("\r\n")
        candidates = [line.removeprefix("a=") for line in lines if "a=candidate:" in line]
        sdp = "\r\n".join(line for line in lines if "candidate" not in line)
        await self.tells(f"webrtc:{kind}", {kind: {"type": kind, "sdp": sdp}})
        for candidate in candidates:
            init = {"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0}
            await self.tells("webrtc:ice", {"candidate": init})
        await self.tells("webrtc:ice", {"candidate": None})

    async def tells(self, event: str, data: dict[str, Any]) -> None:
        await self.client.send(event, {"targetPeerId": self.peer_id, **data})

    async def receive(self, kind: str) -> None:
        """Take the other's description and all of its candidates."""
        data = await self.client.receive(f"webrtc:{kind}")
        assert data["fromPeerId"] == self.peer_id
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
        newcomer = (await alice.receive("peer:joined"))["peerId"]
        caller, called = Caller(bob, host["id"]), Caller(alice, newcomer)
        heard: asyncio.Queue[str] = asyncio.Queue()
        channel = caller.connection.createDataChannel("chat")
        channel.on("message", heard.put_nowait)
        channel.on("open", lambda: channel.send("hello"))

        @called.connection.on("datachannel")
        def answer(their_channel: RTCDataChannel) -> None:
            their_channel.on("message", lambda text: their_channel.send(f"{text} yourself"))

        try:
            await caller.describes("offer")
            await called.receive("offer")
            await called.describes("answer")
            await caller.receive("answer")
            assert await asyncio.wait_for(heard.get(), 20) == "hello yourself"
            for one in (caller, called):
                assert one.connection.connectionState == "connected"
        finally:
            await asyncio.gather(caller.connection.close(), called.connection.close())
        await alice.receive_nothing()
        await bob.receive_nothing()
