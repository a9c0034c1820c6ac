"""At most ten, whoever comes at once and through whichever worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

CLIENTS = 50
SEATS = 10
ROUNDS = 20
IN_TIME = 30.0  # on a database that lets one write after the other


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(engine=request.param, redis=True, workers=2)


@pytest.fixture
async def crowd(site: Site) -> AsyncIterator[list[SignallingCommunicator]]:
    """Fifty clients, half of them at each worker."""
    async with AsyncExitStack() as stack:
        clients = [site.client(f"peer{number % 5}", worker=number % 2) for number in range(CLIENTS)]
        for client in clients:
            await stack.enter_async_context(client)
        yield clients


async def tries(client: SignallingCommunicator, room: str, barrier: asyncio.Barrier) -> str:
    """Join as soon as all the others are ready, and return how it went."""
    await barrier.wait()
    try:
        await client.join(room, within=IN_TIME)
    except RequestRefused as refusal:
        return refusal.code
    return "in"


async def test_of_50_who_join_at_once_10_are_in_and_40_are_told_that_it_is_full(
    site: Site, crowd: list[SignallingCommunicator]
) -> None:
    for number in range(ROUNDS):
        room, barrier = site.room(), asyncio.Barrier(CLIENTS)
        outcomes = await asyncio.gather(*(tries(client, room, barrier) for client in crowd))
        assert Counter(outcomes) == {"in": SEATS, "room_full": CLIENTS - SEATS}, f"round {number}"
        assert site.database.live_rows(room) == SEATS
        inside = [client for client, how in zip(crowd, outcomes, strict=True) if how == "in"]
        await everybody_knows_everybody(inside)
        await asyncio.gather(*(client.leave() for client in inside))
        site.wait_until_empty(room)
        for client in inside:
            await sees_departures_alone(client)


async def everybody_knows_everybody(inside: list[SignallingCommunicator]) -> None:
    """An offer from each to each of the others arrives, so all rosters are whole."""
    ids = {client.peer_id for client in inside}
    for client in inside:
        for target in ids - {client.peer_id}:
            await reaches(client, target)
    for client in inside:
        for sender in ids - {client.peer_id}:
            await client.wait_for("webrtc:ice", fromPeerId=sender)


async def reaches(client: SignallingCommunicator, target: str) -> None:
    """Relay to a peer who may still have to be announced to the sender."""
    if target not in known(client):
        await client.wait_for("peer:joined", peerId=target)
    await client.send("webrtc:ice", {"targetPeerId": target, "candidate": ""})


def known(client: SignallingCommunicator) -> set[str]:
    return {peer["id"] for peer in client.room["peers"]}


async def sees_departures_alone(client: SignallingCommunicator) -> None:
    await client.request("ping")
    while client.unread:
        await client.receive("peer:left")


async def test_a_leave_and_a_join_at_a_full_room_swap_the_seat(
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


async def test_seats_of_those_who_leave_while_others_join_are_never_taken_twice(
    site: Site, crowd: list[SignallingCommunicator]
) -> None:
    room = site.room()

    async def comes_and_goes(client: SignallingCommunicator) -> int:
        been_in = 0
        for _ in range(8):
            if await tries(client, room, asyncio.Barrier(1)) == "in":
                been_in += 1
                assert site.database.live_rows(room) <= SEATS
                await client.leave()
        return been_in

    been_in = await asyncio.gather(*(comes_and_goes(client) for client in crowd[: 2 * SEATS]))
    assert sum(been_in) >= SEATS
    site.wait_until_empty(room)


async def test_nobody_is_left_when_all_sockets_have_closed(site: Site) -> None:
    site.wait_until_empty()
