"""Joins and leaves without end: they cost the attackers, and the members of the room little."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

from signalling.conf import RATE_LIMITS
from signalling.testing import RequestRefused
from tests.hostile.attacker import Attacker
from tests.hostile.bystander import Bystander
from tests.integration.servers import Site

USERS = 5
JOINS = 95
"""For each user: 475 joins, as many as once filled the calls of all others."""


async def join_and_leave(attacker: Attacker, room: str) -> None:
    for number in range(1, JOINS + 1):
        await attacker.send("join:room", {"roomCode": room}, id=number)
        await attacker.send("leave:room", id=-number)
    await attacker.answers(2 * JOINS)


async def test_a_flood_of_joins_is_refused(site: Site, bystander: Bystander) -> None:
    room = site.room()
    async with AsyncExitStack() as stack:
        member = await stack.enter_async_context(site.client("member"))
        await member.join(room)
        attackers = [
            await stack.enter_async_context(Attacker(site, f"mallory-{number}"))
            for number in range(USERS)
        ]
        began = time.monotonic()
        with bystander.watched():
            await asyncio.gather(*(join_and_leave(attacker, room) for attacker in attackers))
        seconds = time.monotonic() - began
        joined = sum(attacker.events["room:joined"] for attacker in attackers)
        rate, burst = RATE_LIMITS["join"]["room"]
        assert joined <= burst + rate * seconds
        for attacker in attackers:
            rate, burst = RATE_LIMITS["join"]["user"]
            assert 0 < attacker.events["room:joined"] <= burst + rate * seconds
            assert attacker.errors["rate_limited"] >= JOINS - attacker.events["room:joined"]
        await member.request("ping")
        events = Counter(frame["event"] for frame in member.unread)
        assert events == {"peer:joined": joined, "peer:left": joined}

        newcomer = await stack.enter_async_context(site.client("newcomer"))
        async with asyncio.timeout(5):
            while not newcomer.peer_id:
                try:
                    await newcomer.join(room)
                except RequestRefused as refusal:
                    await asyncio.sleep(refusal.details["retryAfter"])  # only of rate_limited
        assert [peer["id"] for peer in newcomer.room["peers"]] == [member.peer_id]
