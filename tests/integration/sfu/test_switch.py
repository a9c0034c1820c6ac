"""A room that outgrows its mesh: the switch to the SFU, while people see and hear each other."""

from __future__ import annotations

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.servers import Site

from .janus import Janus
from .people import Crowd


pytestmark = pytest.mark.usefixtures("no_room_is_left")


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings})


async def test_a_crowd_in_a_mesh(site: Site) -> None:
    async with Crowd(site, site.room()) as crowd:
        await crowd.come(3, audio=1)
        await crowd.sees_all("mesh")
        assert [peer.mode for peer in crowd.people] == ["p2p"] * 3


async def test_three(site: Site) -> None:
    async with Crowd(site, site.room(p2p_limit=2)) as crowd:
        await crowd.come(2, audio=1)
        await crowd.sees_all("mesh")
        await crowd.comes()
        await crowd.sees_all("sfu")
        print(crowd)
        print([p.modes for p in crowd.people], [p.mesh for p in crowd.people])


async def test_twelve(site: Site) -> None:
    import time, psutil, gc

    t = time.monotonic()
    c = time.process_time()

    def say(what):
        print(f"{what}: {time.monotonic() - t:.1f} s, cpu {time.process_time() - c:.1f} s")

    async with Crowd(site, site.room()) as crowd:
        await crowd.come(10, audio=1)
        say("10 in")
        await crowd.sees_all("mesh")
        say("mesh complete")
        first = crowd.people[0]
        for p in crowd.people:
            p.forget_gaps()
        import asyncio

        await asyncio.sleep(3)
        say("3 s of it")
        print([round(p.audio_gap(first.peer_id) or -1) for p in crowd.people[1:]])
        for p in crowd.people:
            p.forget_gaps()
        await crowd.comes()
        say("11 in")
        await crowd.sees_all("sfu")
        say("all by sfu")
        print([round(p.audio_gap(first.peer_id) or -1) for p in crowd.people[1:]])
        await crowd.comes()
        await crowd.sees_all("sfu")
        say("12 by sfu")
        print([round(p.audio_gap(first.peer_id) or -1) for p in crowd.people[1:]])
        print([p.modes for p in crowd.people][0], [p.mesh for p in crowd.people])
    say("closed")
