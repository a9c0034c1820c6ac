"""Peers that lie about the SFU while it carries their media."""

from __future__ import annotations

from typing import Any

import pytest

from fake_peers.peer import FakePeer
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.call import FPS, Call
from tests.integration.sfu.janus import Janus
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_rooms_left")


@pytest.fixture
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings, "SWITCH_SECONDS": 9}, server="uvicorn")


class Liar(FakePeer):
    """A peer that reports a failure as soon as the room begins to switch."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._call._report_state = self._lie  # type: ignore[method-assign]
        self._lied_about = 0

    async def _lie(self, sfu: object) -> None:
        if self._lied_about < self.version:
            self._lied_about = self.version
            lie = {"version": self.version, "state": "failed"}
            await self._sender.request("sfu:state", lie)


async def test_a_peer_that_lies_cannot_veto_a_switch(site: Site) -> None:
    """Of three peers, all have to arrive: 80 % of three are more than two."""
    async with Call(site, site.room(p2p_limit=2, total_limit=4)) as call:
        honest = await call.join()
        liar = Liar(
            site.worker.url, call.code, number=2, fps=FPS, token=site.token("mallory"), proxy=None
        )
        await liar.join()
        call.peers.append(liar)
        newcomer = await call.join()
        await wait_until(
            lambda: honest.modes[-1].get("reason") == "committed" or newcomer.end_reason,
            "the decision",
            within=20,
        )
        assert [mode["reason"] for mode in honest.modes] == ["room_grew", "committed"]
        assert not newcomer.end_reason
        await call.wait_for_new_frames("sfu")
