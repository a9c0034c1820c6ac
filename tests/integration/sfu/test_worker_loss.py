"""Media through the SFU when a worker dies, and when a peer is removed."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from fake_peers.peer import FakePeer
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.call import Call
from tests.integration.sfu.conftest import Measure
from tests.integration.sfu.janus import Janus
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_rooms_left")

RECOVERY_SECONDS = 5.0
"""How long media may be interrupted by the death of a worker."""


@pytest.fixture
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(
        engine="postgresql",
        redis=True,
        workers=2,
        server="uvicorn",
        signalling={"SFU": janus.settings},
    )


class StubbornPeer(FakePeer):
    """A peer that keeps its connections when it is removed."""

    async def _end(self, reason: str) -> None:
        self.end_reason = reason


async def test_peers_of_a_dead_worker_resume_on_another_one_and_media_continues(
    site: Site, measure: Measure
) -> None:
    async with Call(site, site.room(p2p_limit=2)) as call:
        moved = [await call.join(workers=(0, 1)) for _ in range(2)]
        stayed = [await call.join(workers=(1,)) for _ in range(2)]
        await call.wait_until_all_displayed("sfu")
        names = {peer.peer_id for peer in call.peers}
        started_at = time.monotonic()
        site.workers[0].send_signal(signal.SIGKILL)
        site.workers[0].wait()
        await wait_until(lambda: all(peer.resumes for peer in moved), "the peers to resume")
        await call.wait_until_all_displayed("sfu")
        duration = time.monotonic() - started_at
        measure("media interrupted by the death of a worker", 1000 * duration, "ms")
        assert duration <= RECOVERY_SECONDS
        assert {peer.peer_id for peer in call.peers} == names
        assert [peer.resumes for peer in (*moved, *stayed)] == [1, 1, 0, 0]


async def test_a_removed_peer_that_keeps_its_connections_neither_sends_nor_receives(
    site: Site, janus: Janus
) -> None:
    async with Call(site, site.room(p2p_limit=2)) as call:
        await call.join_many(3)
        removed = StubbornPeer(
            site.worker.url, call.code, number=4, token=site.token("mallory"), proxy=None
        )
        await removed.join()
        call.peers.append(removed)
        await call.wait_until_all_displayed("sfu")
        call.peers.remove(removed)
        others = call.peers

        def exchanged_frames() -> list[int]:
            """Count the frames from and to the removed peer."""
            sent = [peer.frames(removed.peer_id, "sfu") for peer in others]
            return sent + [removed.frames(peer.peer_id, "sfu") for peer in others]

        peer_id = removed.peer_id
        await asyncio.to_thread(
            site.run_python,
            "from rooms import services; from rooms.models import Participant; "
            f"services.remove_participant(Participant.objects.get(peer_id={peer_id!r}))",
        )
        await wait_until(lambda: removed.end_reason == "4403", "the removal")
        await wait_until(lambda: peer_id not in janus.peers(), "the peer to leave Janus", within=2)
        before = exchanged_frames()
        await call.wait_for_new_frames("sfu")
        await call.wait_for_new_frames("sfu")
        assert exchanged_frames() == before
        await removed.close()
