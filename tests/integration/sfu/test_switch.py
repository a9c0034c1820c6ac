"""A room that outgrows its mesh, while people see and hear each other: real media, real Janus."""

from __future__ import annotations

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.conftest import Measure
from tests.integration.sfu.janus import Janus
from tests.integration.sfu.people import Crowd, Stalls
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_room_is_left")

GAP_MS = 300.0
"""The longest silence that a switch may cause."""


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings}, server="uvicorn")


async def test_at_the_eleventh_everybody_moves_to_the_sfu_and_nobody_falls_silent(
    site: Site, measure: Measure
) -> None:
    async with Crowd(site, site.room()) as crowd:
        speaker, listener = await crowd.come(2, audio=1)
        await crowd.brings(8)
        await crowd.receive_all("mesh")
        assert {len(person.mesh) for person in crowd.everybody()} == {9}

        listener.forget_gaps()
        async with Stalls() as stalls:
            eleventh = await crowd.comes()
            await crowd.receive_all("sfu")
            gap = listener.audio_gap(speaker.peer_id)
        assert gap is not None
        measure("silence at the switch of eleven", gap, "ms")
        measure("the same, without waits for a processor", gap - stalls.worst, "ms")
        assert gap - stalls.worst <= GAP_MS
        await wait_until(
            lambda: not any(person.mesh for person in crowd.everybody()), "the end of the mesh"
        )
        assert [mode["reason"] for mode in listener.modes] == ["room_grew", "committed"]
        assert eleventh.modes[-1]["reason"] == "committed"

        await crowd.comes()
        await crowd.receive_all("sfu")
        assert listener.audio_gap(speaker.peer_id) is not None
        assert [peer.errors for peer in crowd.people] == [[]] * 4
