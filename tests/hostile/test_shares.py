"""A member on a slow link, and another one who sends as much as the limits allow."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.hostile.attacker import Attacker
from tests.hostile.bystander import Bystander
from tests.integration.servers import Site
from tests.integration.traffic import RawSocket, wait_until
from tests.integration.wire import CLOSE, TEXT, client_frame

MBIT = 125_000
"""Bytes per second."""
SECONDS = 3.0
"""The attack. A victim on 2 Mbit/s used to be closed after 1.2 s."""


class SlowLink:
    """A member that reads at the rate of a slow link."""

    def __init__(self, site: Site, username: str, rate: int) -> None:
        self.socket = RawSocket(site, username)
        self.rate = rate
        self.relays: Counter[str] = Counter()
        """By sender."""
        self.is_closed = False

    async def read(self) -> None:
        """Read until the connection ends."""
        began, received = time.monotonic(), 0
        while taken := await self.socket.read(8192):
            received += taken
            for opcode, payload in self.socket.frames():
                if opcode == TEXT:
                    self.relays[json.loads(payload)["data"].get("fromPeerId", "")] += 1
                self.is_closed |= opcode == CLOSE
            await asyncio.sleep(received / self.rate - (time.monotonic() - began))
        self.is_closed = True


async def flood(attackers: list[Attacker], victim: str) -> None:
    """Send 4 MiB of answers at once and then 1 MiB/s: as much as one user may."""
    answer = {"targetPeerId": victim, "answer": {"type": "answer", "sdp": "v" * 40_000}}
    frame = client_frame(json.dumps({"event": "webrtc:answer", "data": answer}).encode())
    for _ in range(30):
        for attacker in attackers:
            await attacker.write(frame)
    while True:
        for attacker in attackers:
            await attacker.write(frame)
            await asyncio.sleep(0.045)


@pytest.mark.parametrize("megabits", [2, 8])
async def test_a_flooded_member_on_a_slow_link_stays_and_receives_from_others(
    site: Site, bystander: Bystander, megabits: int
) -> None:
    """The sockets of mallory are one sender. All relays of carol must be accepted and arrive."""
    room = site.room()
    async with AsyncExitStack() as stack:
        victim = SlowLink(site, "victim", megabits * MBIT)
        stack.callback(victim.socket.close)
        await victim.socket.join(room)
        target = victim.socket.peer_id
        reading = asyncio.create_task(victim.read())
        attackers = [await stack.enter_async_context(Attacker(site)) for _ in range(3)]
        for attacker in attackers:
            await attacker.join(room)
        carol = await stack.enter_async_context(site.client("carol"))
        await carol.join(room)
        with bystander.watched():
            flooding = asyncio.create_task(flood(attackers, target))
            until, sent = time.monotonic() + SECONDS, 0
            while time.monotonic() < until:
                await carol.request("webrtc:ice", {"targetPeerId": target, "candidate": str(sent)})
                sent += 1
                await asyncio.sleep(0.05)
            flooding.cancel()
        errors = sum((attacker.errors for attacker in attackers), Counter[str]())
        assert errors["peer_busy"] > 0
        assert [attacker.close_code for attacker in attackers] == [None] * 3
        await wait_until(lambda: victim.relays[carol.peer_id] == sent, "the relays of carol")
        assert not victim.is_closed
        assert not any(frame["event"] == "peer:left" for frame in carol.unread)
        reading.cancel()
