"""At most ten peers get a seat, however many join at once, on one worker or two."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.effort import effort
from tests.integration.fixtures import PAIRS, MakeSite
from tests.integration.servers import Site

CLIENTS = 50
SEATS = 10
ROUNDS = effort(5)
JOIN_TIMEOUT = 30.0  # SQLite serialises all writes


@pytest.fixture(scope="module", params=PAIRS)
def site(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    return make_site(**request.param, redis=True, workers=2)


@pytest.fixture
async def clients(site: Site) -> AsyncIterator[list[SignallingCommunicator]]:
    """Fifty connected clients, half of them on each worker."""
    async with AsyncExitStack() as stack:
        clients = [site.client(f"peer{number % 5}", worker=number % 2) for number in range(CLIENTS)]
        for client in clients:
            await stack.enter_async_context(client)
        yield clients


async def try_join(client: SignallingCommunicator, room: str, barrier: asyncio.Barrier) -> str:
    """Join when all others are ready; return ``"joined"`` or the code of the refusal."""
    await barrier.wait()
    try:
        await client.join(room, within=JOIN_TIMEOUT)
    except RequestRefused as refusal:
        return refusal.code
    return "joined"


async def test_of_50_concurrent_joins_10_succeed_and_40_get_room_full(
    site: Site, clients: list[SignallingCommunicator]
) -> None:
    for number in range(ROUNDS):
        room, barrier = site.room(), asyncio.Barrier(CLIENTS)
        outcomes = await asyncio.gather(*(try_join(client, room, barrier) for client in clients))
        assert Counter(outcomes) == {"joined": SEATS, "room_full": CLIENTS - SEATS}, (
            f"round {number}"
        )
        assert site.database.live_rows(room) == SEATS
        inside = [
            client for client, outcome in zip(clients, outcomes, strict=True) if outcome == "joined"
        ]
        await assert_complete_rosters(inside)
        await asyncio.gather(*(client.leave() for client in inside))
        site.wait_until_empty(room)
        for client in inside:
            await assert_only_leaves_unread(client)


async def assert_complete_rosters(inside: list[SignallingCommunicator]) -> None:
    """Relay from each peer to each other one: that works only with complete rosters."""
    ids = {client.peer_id for client in inside}
    for client in inside:
        for target in ids - {client.peer_id}:
            await relay_to(client, target)
    for client in inside:
        for sender in ids - {client.peer_id}:
            await client.wait_for("webrtc:ice", fromPeerId=sender)


async def relay_to(client: SignallingCommunicator, target: str) -> None:
    """Relay to a peer, after its announcement if the sender does not know it yet."""
    if target not in initial_peers(client):
        await client.wait_for("peer:joined", peerId=target)
    await client.send("webrtc:ice", {"targetPeerId": target, "candidate": ""})


def initial_peers(client: SignallingCommunicator) -> set[str]:
    return {peer["id"] for peer in client.room["peers"]}


async def assert_only_leaves_unread(client: SignallingCommunicator) -> None:
    await client.request("ping")
    while client.unread:
        await client.receive("peer:left")


async def test_a_leave_frees_a_seat_of_a_full_room(
    site: Site, clients: list[SignallingCommunicator]
) -> None:
    room = site.room()
    inside, waiting = clients[:SEATS], clients[SEATS:]
    for client in inside:
        await client.join(room)
    for former, newcomer in zip(inside, waiting, strict=False):
        with pytest.raises(RequestRefused, match="room_full"):
            await newcomer.join(room)
        await former.leave()
        await newcomer.join(room)
        assert site.database.live_rows(room) == SEATS


async def test_concurrent_joins_and_leaves_never_exceed_the_seats(
    site: Site, clients: list[SignallingCommunicator]
) -> None:
    room = site.room()

    async def join_and_leave(client: SignallingCommunicator) -> int:
        joins = 0
        for _ in range(8):
            if await try_join(client, room, asyncio.Barrier(1)) == "joined":
                joins += 1
                assert site.database.live_rows(room) <= SEATS
                await client.leave()
        return joins

    joins = await asyncio.gather(*(join_and_leave(client) for client in clients[: 2 * SEATS]))
    assert sum(joins) >= SEATS
    site.wait_until_empty(room)


async def test_no_peer_is_left_after_all_sockets_have_closed(site: Site) -> None:
    site.wait_until_empty()
