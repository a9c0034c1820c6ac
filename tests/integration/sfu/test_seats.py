"""Janus contains exactly the peers of the room: at the limit, and after peers leave in any way."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from rooms.models import Room
from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import Engine, MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.janus import Janus
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_rooms_left")

JOINS = 50


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, make_site: MakeSite, janus: Janus) -> Site:
    """One worker with SQLite, or two workers with PostgreSQL and Redis."""
    engine: Engine = request.param
    is_large = engine == "postgresql"
    return make_site(
        engine=engine,
        redis=is_large,
        workers=2 if is_large else 1,
        server="uvicorn",
        signalling={"SFU": janus.settings},
        is_spread=True,
    )


def get_room(site: Site, code: str) -> Room:
    return site.database.run(lambda: Room.objects.using(site.database.alias).get(code=code))


async def test_fifty_concurrent_joins_fill_the_room_exactly_and_switch_it_once(
    site: Site,
) -> None:
    code = site.room(p2p_limit=10, total_limit=20)
    start = asyncio.Event()

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(site.client(f"user{number % 5}"))
            for number in range(JOINS)
        ]

        async def join(client: SignallingCommunicator) -> str:
            await start.wait()
            try:
                await client.join(code, within=30)
            except RequestRefused as refused:
                return f"{refused.code} {refused.details['limit']}"
            return f"{client.room['mode']} {client.room.get('modeVersion', 0)}"

        joins = [asyncio.create_task(join(client)) for client in clients]
        start.set()
        outcomes = Counter(await asyncio.gather(*joins))

        assert outcomes == {"p2p 0": 10, "sfu 1": 10, "room_full 20": 30}
        assert (get_room(site, code).mode, get_room(site, code).mode_version) == ("sfu", 1)
        assert site.database.live_rows(code) == 20
        for client in clients:
            if client.peer_id and client.room["mode"] == "p2p":
                assert len(client.room["peers"]) < 10
                assert (await client.wait_for("room:mode"))["version"] == 1
                await client.request("ping")
                modes = [frame for frame in client.unread if frame["event"] == "room:mode"]
                assert modes == [], "the room switched more than once"


@pytest.fixture
def routed(site: Site) -> str:
    return site.room(topology="sfu")


async def test_a_peer_that_leaves_is_removed_from_janus(
    site: Site, janus: Janus, routed: str
) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        for client in (alice, bob):
            await client.join(routed)
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} <= set(janus.peers()), "two peers in Janus"
        )
        await bob.leave()
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} & set(janus.peers()) == {alice.peer_id},
            "bob to leave Janus",
            within=2,
        )
        await bob.join(routed)
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} <= set(janus.peers()), "two peers in Janus"
        )
        await bob.close()
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} & set(janus.peers()) == {alice.peer_id},
            "bob to leave Janus",
            within=2,
        )


async def test_a_removed_peer_is_removed_from_janus(site: Site, janus: Janus, routed: str) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        for client in (alice, bob):
            await client.join(routed)
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} <= set(janus.peers()), "two peers in Janus"
        )
        site.run_python(
            "from rooms import services; from rooms.models import Participant; "
            f"services.remove_participant(Participant.objects.get(peer_id={bob.peer_id!r}))"
        )
        if site.redis is not None:
            await bob.receive_error("removed")
        # Without Redis the worker is not notified; its reconciler removes the peer.
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} & set(janus.peers()) == {alice.peer_id},
            "bob to leave Janus",
            within=4,
        )


async def test_a_detached_peer_stays_in_janus_until_its_membership_ends(
    make_site: MakeSite, janus: Janus
) -> None:
    site = make_site(signalling={"SFU": janus.settings, "RESUME_WINDOW": 6.0}, server="uvicorn")
    code = site.room(topology="sfu")
    async with site.client("alice") as alice, site.client("bob") as bob:
        await alice.join(code)
        await bob.join(code, resumable=True)
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} <= set(janus.peers()), "two peers in Janus"
        )
        await bob.reset()
        await alice.wait_for("peer:away", peerId=bob.peer_id)
        assert bob.peer_id in janus.peers()
        await alice.wait_for("peer:left", peerId=bob.peer_id, within=15)
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} & set(janus.peers()) == {alice.peer_id},
            "bob to leave Janus",
            within=2,
        )


async def test_a_resumed_peer_has_the_same_id_in_janus(
    site: Site, janus: Janus, routed: str
) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        await alice.join(routed)
        token = (await bob.join(routed, resumable=True))["resumeToken"]
        await wait_until(
            lambda: {alice.peer_id, bob.peer_id} <= set(janus.peers()), "two peers in Janus"
        )
        await bob.reset()
        await alice.wait_for("peer:away", peerId=bob.peer_id)
        async with site.client("bob") as again:
            await again.resume(routed, token)
            assert again.room["mode"] == "sfu"
            await alice.wait_for("peer:back", peerId=bob.peer_id)
            await again.request("sfu:restart")
            assert {alice.peer_id, bob.peer_id} <= set(janus.peers())


async def test_the_peers_of_a_dead_worker_are_removed_and_unused_rooms_are_closed(
    make_site: MakeSite, janus: Janus
) -> None:
    fast = {"LEASE_SECONDS": 3.0, "LEASE_RENEWAL": 0.5, "SWITCH_SECONDS": 2.0}
    site = make_site(
        redis=True, workers=2, server="uvicorn", signalling={"SFU": janus.settings, **fast}
    )
    code, other = site.room(topology="sfu"), site.room(topology="sfu")
    async with site.client("alice", worker=0) as alice, site.client("bob", worker=1) as bob:
        for client in (alice, bob):
            await client.join(code)
        async with site.client("carol", worker=1) as carol:
            await carol.join(other)
            await wait_until(lambda: len(janus.peers()) == 3, "three peers in Janus")
            site.workers[1].send_signal(signal.SIGKILL)
            site.workers[1].wait()
            await alice.wait_for("peer:left", peerId=bob.peer_id, reason="server_lost", within=15)
            await wait_until(
                lambda: bob.peer_id not in janus.peers(), "bob to leave Janus", within=4
            )
            # The other room is empty, but carol is still in Janus.
            assert any(f"room_{other.lower()}" in name for name in janus.rooms())
    await wait_until(lambda: not janus.rooms(), "the rooms to close", within=15)
