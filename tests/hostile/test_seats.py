"""One user can neither take the seats of a room nor keep its host out.

Only the limit of seats is on: the other limits would refuse most of these joins before it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from signalling.conf import SignallingSettings
from signalling.protocol import CloseCode
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.traffic import wait_until

SOCKETS = 20
SEATS = SignallingSettings().seats_per_user


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """Two workers on PostgreSQL, where joins really run at the same time."""
    return make_site(
        server="uvicorn",
        engine="postgresql",
        redis=True,
        workers=2,
        signalling={"SEATS_PER_USER": SEATS},
    )


@pytest.fixture
async def mallory(site: Site) -> AsyncIterator[list[SignallingCommunicator]]:
    """The sockets of one user, half of them on each worker."""
    async with AsyncExitStack() as stack:
        sockets = [site.client("mallory", worker=number % 2) for number in range(SOCKETS)]
        for socket in sockets:
            await stack.enter_async_context(socket)
        yield sockets


async def join_at_once(sockets: list[SignallingCommunicator], room: str) -> Counter[str]:
    """Join with all sockets at the same time. Count the joins and the codes of the refusals."""

    async def join(socket: SignallingCommunicator) -> str:
        try:
            await socket.join(room, within=30)
        except RequestRefused as refusal:
            return refusal.code
        return "joined"

    return Counter(await asyncio.gather(*(join(socket) for socket in sockets)))


def roster(client: SignallingCommunicator) -> set[str]:
    """Return the peers that have joined after the client and have not left, by its unread frames.

    A peer that loses its seat before it is announced is never announced.
    """
    found: set[str] = set()
    for frame in client.unread:
        change = found.add if frame["event"] == "peer:joined" else found.discard
        change(frame["data"]["peerId"])
    return found


async def test_simultaneous_joins_never_exceed_the_seats_of_a_user(
    site: Site, mallory: list[SignallingCommunicator]
) -> None:
    room = site.room()
    outcomes = await join_at_once(mallory, room)
    assert outcomes == {"joined": SEATS, "too_many_devices": SOCKETS - SEATS}
    assert site.database.live_rows(room) == SEATS


async def test_simultaneous_joins_of_a_host_replace_each_other(
    site: Site, mallory: list[SignallingCommunicator]
) -> None:
    room = site.room(host=site.user("mallory"))
    async with site.client("alice", worker=1) as alice:
        await alice.join(room)
        assert await join_at_once(mallory, room) == {"joined": SOCKETS}
        remaining = site.database.live_peers(room) - {alice.peer_id}
        assert len(remaining) == SEATS
        await wait_until(lambda: roster(alice) == remaining, "alice to know who remains")
        reasons = {frame["data"].get("reason") for frame in alice.unread}
        assert reasons == {None, "evicted"}


async def test_the_host_gets_into_a_room_that_others_have_filled(
    site: Site, mallory: list[SignallingCommunicator]
) -> None:
    room = site.room(host=site.user("host"))
    async with AsyncExitStack() as stack:
        guests = [site.client(f"guest{number}", worker=number % 2) for number in range(7)]
        for guest in guests:
            await stack.enter_async_context(guest)
            await guest.join(room)
        await join_at_once(mallory, room)
        host = await stack.enter_async_context(site.client("host", worker=1))
        joined = await host.join(room)
        assert (joined["role"], len(joined["peers"])) == ("host", 9)
        left = await guests[0].wait_for("peer:left")
        (evicted,) = [socket for socket in mallory if socket.peer_id == left["peerId"]]
        await evicted.wait_for("error", code="evicted")
        assert await evicted.receive_close() == CloseCode.REMOVED
        for guest in guests[1:]:
            assert await guest.wait_for("peer:left") == left
            await guest.wait_for("peer:joined", peerId=host.peer_id)
        outsider = next(socket for socket in mallory if not socket.peer_id)
        assert await join_at_once([outsider], room) == {"room_full": 1}


async def test_ghosts_of_a_user_never_fill_a_room(
    site: Site, mallory: list[SignallingCommunicator]
) -> None:
    room = site.room()
    async with site.client("alice", worker=1) as alice:
        await alice.join(room)
        for number, socket in enumerate(mallory[:12]):
            await socket.join(room, resumable=True)
            await socket.reset()
            await alice.wait_for("peer:away", peerId=socket.peer_id)
            assert site.database.live_rows(room) == 1 + min(number + 1, SEATS)
