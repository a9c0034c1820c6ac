"""A Janus that is not there, and one that dies: before a switch, in the middle of it, and after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from fake_peers.peer import FakePeer
from signalling.client.connection import RequestRefused
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.janus import Janus
from tests.integration.sfu.people import Crowd, Stalls
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_room_is_left")

GAP_MS = 300.0


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings}, server="uvicorn")


@pytest.fixture
async def room(site: Site) -> str:
    """A room in which three are a mesh, and a server that has noticed that Janus is there."""
    async with asyncio.timeout(10):
        while not await has_sfu(site):  # noqa: ASYNC110  (it is another process that changes)
            await asyncio.sleep(0.1)
    return site.room(p2p_limit=3, total_limit=8)


async def has_sfu(site: Site) -> bool:
    """Tell whether a room may outgrow its mesh."""
    code = site.room(p2p_limit=2)
    async with site.client("a") as a, site.client("b") as b, site.client("c") as c:
        try:
            for client in (a, b, c):
                await client.join(code)
        except RequestRefused:
            return False
    return True


async def leaves_sfu(*peers: FakePeer) -> None:
    await wait_until(lambda: not any(peer.is_routed for peer in peers), "the end of the SFU")


async def receive(reason: str, *peers: FakePeer) -> None:
    await wait_until(lambda: {reasons(peer)[-1] for peer in peers} == {reason}, reason)


def reasons(peer: FakePeer) -> list[str]:
    return [f"{mode['mode']} {mode['reason']}" for mode in peer.modes]


@pytest.fixture
def no_janus(janus: Janus) -> Iterator[None]:
    janus.stop()
    yield
    janus.start()


async def test_without_an_sfu_the_eleventh_is_refused_and_ten_notice_nothing(
    make_site: MakeSite, janus: Janus, no_janus: None
) -> None:
    site = make_site(signalling={"SFU": janus.settings}, server="uvicorn")  # it has never seen one
    code = site.room()
    async with AsyncExitStack() as stack:
        ten = [await stack.enter_async_context(site.client(f"user{n}")) for n in range(10)]
        for client in ten:
            await client.join(code)
        for client in ten[:-1]:
            await client.wait_for("peer:joined", peerId=ten[-1].peer_id)
            client.clear()
        eleventh = await stack.enter_async_context(site.client("eleventh"))
        with pytest.raises(RequestRefused) as refused:
            await eleventh.join(code)
        assert refused.value.code == "room_full"
        assert (refused.value.details["limit"], refused.value.details["mode"]) == (10, "p2p")
        for client in ten:
            await client.receive_nothing()
    site.stop()  # or it would close the rooms of the other tests' site


async def test_a_janus_that_dies_in_the_middle_of_a_switch_costs_those_who_were_there_nothing(
    site: Site, janus: Janus, room: str
) -> None:
    async with Crowd(site, room) as crowd:
        first, second, third = await crowd.come(3, audio=1)
        await crowd.receive_all("mesh")
        second.forget_gaps()
        async with Stalls() as stalls:
            fourth = await crowd.comes()
            assert fourth.is_switching
            janus.is_killed()
            await wait_until(lambda: fourth.end, "the end of the fourth")
            assert fourth.end == "sfu_unavailable"
            crowd.people.remove(fourth)
            await crowd.receive_all("mesh")
            gap = second.audio_gap(first.peer_id)
        assert gap is not None
        assert gap - stalls.worst <= GAP_MS
        for peer in (first, second, third):
            assert reasons(peer) == ["sfu room_grew", "p2p sfu_lost"]
        await leaves_sfu(first, second, third)
        janus.start()
        with pytest.raises(RequestRefused) as refused:
            await crowd.comes()
        assert refused.value.code == "room_full", "it does not try again at once"
        await fourth.close()


async def test_when_it_dies_later_a_room_that_fits_into_a_mesh_goes_back_to_one(
    site: Site, janus: Janus, room: str
) -> None:
    async with Crowd(site, room) as crowd:
        *three, fourth = await crowd.come(4)
        await crowd.receive_all("sfu")
        await crowd.leave(fourth)
        await crowd.receive_all("sfu")
        janus.is_killed()
        await crowd.receive_all("mesh")
        await receive("p2p sfu_lost", *three)
        await leaves_sfu(*three)
        assert [peer.errors for peer in three] == [[], [], []]


async def test_a_larger_room_is_told_and_goes_on_when_it_is_back(
    site: Site, janus: Janus, room: str
) -> None:
    async with Crowd(site, room) as crowd:
        four = await crowd.come(4)
        await crowd.receive_all("sfu")
        janus.is_killed()
        await receive("sfu sfu_lost", *four)
        janus.start()
        await receive("sfu sfu_back", *four)
        await crowd.receive_all("sfu")
        assert {peer.peer_id for peer in four} == set(janus.peers())


async def test_who_takes_the_place_of_one_who_left_is_seen_as_itself(
    site: Site, janus: Janus, room: str
) -> None:
    async with Crowd(site, room) as crowd:
        await crowd.come(3, audio=1)
        fourth = await crowd.comes()
        await crowd.receive_all("sfu")
        seen = crowd.people[0].frames(fourth.peer_id, "sfu")
        await crowd.leave(fourth)
        await wait_until(lambda: fourth.peer_id not in janus.peers(), "the fourth's end", within=2)
        await crowd.comes(audio=True)
        await crowd.receive_all("sfu")
        await crowd.moves("sfu")
        assert crowd.people[0].frames(fourth.peer_id, "sfu") <= seen + 3, "a ghost"
