"""A room outgrows its mesh during a call, with real media and a real Janus."""

from __future__ import annotations

import pytest

from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.call import Call, EventLoopDelay
from tests.integration.sfu.conftest import Measure
from tests.integration.sfu.janus import Janus
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_rooms_left")

GAP_MS = 300.0
"""How long a switch may interrupt audio."""


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings}, server="uvicorn")


async def test_with_the_eleventh_peer_the_room_moves_to_the_sfu_without_an_audio_gap(
    site: Site, measure: Measure
) -> None:
    async with Call(site, site.room()) as call:
        sender, receiver = await call.join_many(2, audio=1)
        await call.join_from_another_process(8)
        await call.wait_until_all_displayed("mesh")
        assert {len(peer.mesh_peers) for peer in call.all_peers()} == {9}

        receiver.reset_audio_gaps()
        async with EventLoopDelay() as delay:
            eleventh = await call.join()
            await call.wait_until_all_displayed("sfu")
            gap = receiver.audio_gap(sender.peer_id)
        assert gap is not None
        measure("audio gap when a room of eleven switches", gap, "ms")
        measure("the same, minus the time without a CPU", gap - delay.worst, "ms")
        assert gap - delay.worst <= GAP_MS
        await wait_until(
            lambda: not any(peer.mesh_peers for peer in call.all_peers()), "the mesh to close"
        )
        assert [mode["reason"] for mode in receiver.modes] == ["room_grew", "committed"]
        assert eleventh.modes[-1]["reason"] == "committed"

        await call.join()
        await call.wait_until_all_displayed("sfu")
        assert receiver.audio_gap(sender.peer_id) is not None
        assert [peer.errors for peer in call.peers] == [[]] * 4
