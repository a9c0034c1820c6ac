"""Outages of Janus before, during and after a switch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from fake_peers.peer import FakePeer
from signalling.client.connection import RequestRefused
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.call import Call, EventLoopDelay
from tests.integration.sfu.janus import Janus
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_rooms_left")

GAP_MS = 300.0


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings}, server="uvicorn")


@pytest.fixture
async def room(site: Site) -> str:
    """A room whose mesh holds three peers, on a server that knows that Janus is running."""
    async with asyncio.timeout(10):
        while not await has_sfu(site):  # noqa: ASYNC110  (another process changes)
            await asyncio.sleep(0.1)
    return site.room(p2p_limit=3, total_limit=8)


async def has_sfu(site: Site) -> bool:
    """Return whether a room can switch to the SFU."""
    code = site.room(p2p_limit=2)
    async with site.client("a") as a, site.client("b") as b, site.client("c") as c:
        try:
            for client in (a, b, c):
                await client.join(code)
        except RequestRefused:
            return False
    return True


async def wait_until_sfu_closed(*peers: FakePeer) -> None:
    await wait_until(
        lambda: not any(peer.uses_sfu for peer in peers), "the SFU connections to close"
    )


async def wait_for_mode(reason: str, *peers: FakePeer) -> None:
    await wait_until(lambda: {reasons(peer)[-1] for peer in peers} == {reason}, reason)


def reasons(peer: FakePeer) -> list[str]:
    return [f"{mode['mode']} {mode['reason']}" for mode in peer.modes]


@pytest.fixture
def stopped_janus(janus: Janus) -> Iterator[None]:
    janus.stop()
    yield
    janus.start()


async def test_without_an_sfu_the_eleventh_peer_is_refused_and_the_others_are_not_affected(
    make_site: MakeSite, janus: Janus, stopped_janus: None
) -> None:
    site = make_site(
        signalling={"SFU": janus.settings}, server="uvicorn"
    )  # never connected to Janus
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
    site.stop()  # its reconciler would close the rooms of the other site


async def test_an_outage_during_a_switch_does_not_interrupt_the_mesh(
    site: Site, janus: Janus, room: str
) -> None:
    async with Call(site, room) as call:
        first, second, third = await call.join_many(3, audio=1)
        await call.wait_until_all_displayed("mesh")
        second.reset_audio_gaps()
        async with EventLoopDelay() as delay:
            fourth = await call.join()
            assert fourth.is_switching
            janus.kill()
            await wait_until(lambda: fourth.end_reason, "the fourth peer to be removed")
            assert fourth.end_reason == "sfu_unavailable"
            call.peers.remove(fourth)
            await call.wait_until_all_displayed("mesh")
            gap = second.audio_gap(first.peer_id)
        assert gap is not None
        assert gap - delay.worst <= GAP_MS
        for peer in (first, second, third):
            assert reasons(peer) == ["sfu room_grew", "p2p sfu_lost"]
        await wait_until_sfu_closed(first, second, third)
        janus.start()
        with pytest.raises(RequestRefused) as refused:
            await call.join()
        assert refused.value.code == "room_full", "the room does not switch again immediately"
        await fourth.close()


async def test_an_outage_after_a_switch_turns_a_small_room_into_a_mesh(
    site: Site, janus: Janus, room: str
) -> None:
    async with Call(site, room) as call:
        *three, fourth = await call.join_many(4)
        await call.wait_until_all_displayed("sfu")
        await call.leave(fourth)
        await call.wait_until_all_displayed("sfu")
        janus.kill()
        await call.wait_until_all_displayed("mesh")
        await wait_for_mode("p2p sfu_lost", *three)
        await wait_until_sfu_closed(*three)
        assert [peer.errors for peer in three] == [[], [], []]


async def test_a_large_room_is_notified_of_an_outage_and_continues_after_it(
    site: Site, janus: Janus, room: str
) -> None:
    async with Call(site, room) as call:
        four = await call.join_many(4)
        await call.wait_until_all_displayed("sfu")
        janus.kill()
        await wait_for_mode("sfu sfu_lost", *four)
        janus.start()
        await wait_for_mode("sfu sfu_back", *four)
        await call.wait_until_all_displayed("sfu")
        assert {peer.peer_id for peer in four} == set(janus.peers())


async def test_a_new_peer_is_not_mistaken_for_the_one_whose_sections_it_reuses(
    site: Site, janus: Janus, room: str
) -> None:
    async with Call(site, room) as call:
        await call.join_many(3, audio=1)
        fourth = await call.join()
        await call.wait_until_all_displayed("sfu")
        frames = call.peers[0].frames(fourth.peer_id, "sfu")
        await call.leave(fourth)
        await wait_until(
            lambda: fourth.peer_id not in janus.peers(), "the fourth peer to leave Janus", within=2
        )
        await call.join(audio=True)
        await call.wait_until_all_displayed("sfu")
        await call.wait_for_new_frames("sfu")
        assert call.peers[0].frames(fourth.peer_id, "sfu") <= frames + 3, "frames of the new peer"
