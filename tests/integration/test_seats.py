"""A room never has more peers than seats, whatever the workers and the order of joins."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import PAIRS, MakeSite
from tests.integration.servers import Site

CLIENTS = 50
SEATS = 10
ROUNDS = 20
IN_TIME = 30.0  # on a database that lets one write after the other


@pytest.fixture(scope="module", params=PAIRS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(**request.param, redis=True, workers=2)


@pytest.fixture
async def crowd(site: Site) -> AsyncIterator[list[SignallingCommunicator]]:
    """Fifty clients, half of them on each worker."""
    async with AsyncExitStack() as stack:
        clients = [site.client(f"peer{number % 5}", worker=number % 2) for number in range(CLIENTS)]
        for client in clients:
            await stack.enter_async_context(client)
        yield clients


async def tries(client: SignallingCommunicator, room: str, barrier: asyncio.Barrier) -> str:
    """Join when all clients are ready, and return "in" or the code of the error."""
    await barrier.wait()
    try:
        await client.join(room, within=IN_TIME)
    except RequestRefused as refusal:
        return refusal.code
    return "in"


async def test_of_50_concurrent_joins_10_succeed_and_40_get_room_full(
    site: Site, crowd: list[SignallingCommunicator]
) -> None:
    for number in range(ROUNDS):
        room, barrier = site.room(), asyncio.Barrier(CLIENTS)
        outcomes = await asyncio.gather(*(tries(client, room, barrier) for client in crowd))
        assert Counter(outcomes) == {"in": SEATS, "room_full": CLIENTS - SEATS}, f"round {number}"
        assert site.database.live_rows(room) == SEATS
        inside = [client for client, how in zip(crowd, outcomes, strict=True) if how == "in"]
        await check_rosters(inside)
        await asyncio.gather(*(client.leave() for client in inside))
        site.wait_until_empty(room)
        for client in inside:
            await check_only_departures(client)


async def check_rosters(inside: list[SignallingCommunicator]) -> None:
    """Relay from each peer to each other: all relays arrive, so all rosters are complete."""
    ids = {client.peer_id for client in inside}
    for client in inside:
        for target in ids - {client.peer_id}:
            await reaches(client, target)
    for client in inside:
        for sender in ids - {client.peer_id}:
            await client.wait_for("webrtc:ice", fromPeerId=sender)


async def reaches(client: SignallingCommunicator, target: str) -> None:
    """Relay to a peer; wait for its announcement first."""
    if target not in known(client):
        await client.wait_for("peer:joined", peerId=target)
    await client.send("webrtc:ice", {"targetPeerId": target, "candidate": ""})


def known(client: SignallingCommunicator) -> set[str]:
    return {peer["id"] for peer in client.room["peers"]}


async def check_only_departures(client: SignallingCommunicator) -> None:
    await client.request("ping")
    while client.unread:
        await client.receive("peer:left")


async def test_a_leave_makes_room_for_a_join_in_a_full_room(
    site: Site, crowd: list[SignallingCommunicator]
) -> None:
    room = site.room()
    inside, waiting = crowd[:SEATS], crowd[SEATS:]
    for client in inside:
        await client.join(room)
    for leaver, comer in zip(inside, waiting, strict=False):
        with pytest.raises(RequestRefused, match="room_full"):
            await comer.join(room)
        await leaver.leave()
        await comer.join(room)
        assert site.database.live_rows(room) == SEATS


async def test_no_seat_is_taken_twice_during_concurrent_leaves_and_joins(
    site: Site, crowd: list[SignallingCommunicator]
) -> None:
    room = site.room()

    async def join_and_end(client: SignallingCommunicator) -> int:
        been_in = 0
        for _ in range(8):
            if await tries(client, room, asyncio.Barrier(1)) == "in":
                been_in += 1
                assert site.database.live_rows(room) <= SEATS
                await client.leave()
        return been_in

    been_in = await asyncio.gather(*(join_and_end(client) for client in crowd[: 2 * SEATS]))
    assert sum(been_in) >= SEATS
    site.wait_until_empty(room)


async def test_rooms_are_empty_after_all_sockets_have_closed(site: Site) -> None:
    site.wait_until_empty()
