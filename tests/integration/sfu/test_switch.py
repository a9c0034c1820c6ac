"""A room that outgrows its mesh: the switch to the SFU, while people see and hear each other."""

from __future__ import annotations

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.servers import Site

from .janus import Janus
from .people import Crowd


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus_of_all: Janus) -> Site:
    return make_site(signalling={"SFU": janus_of_all.settings})


async def test_a_crowd_in_a_mesh(site: Site, janus: Janus) -> None:
    async with Crowd(site, site.room()) as crowd:
        await crowd.come(3, audio=1)
        await crowd.sees_all("mesh")
        assert [peer.mode for peer in crowd.people] == ["p2p"] * 3


async def test_three(site: Site, janus: Janus) -> None:
    async with Crowd(site, site.room(p2p_limit=2)) as crowd:
        await crowd.come(2, audio=1)
        await crowd.sees_all("mesh")
        await crowd.comes()
        await crowd.sees_all("sfu")
        print(crowd)
        print([p.modes for p in crowd.people], [p.mesh for p in crowd.people])
