"""Media of a room with an SFU when a worker dies, and when somebody is put out."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from fake_peers.peer import FakePeer
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site
from tests.integration.sfu.conftest import Measure
from tests.integration.sfu.janus import Janus
from tests.integration.sfu.people import Crowd
from tests.integration.traffic import wait_until

pytestmark = pytest.mark.usefixtures("no_room_is_left")

BACK_SECONDS = 5.0
"""In which everybody sees everybody again after the death of a worker."""


@pytest.fixture
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(
        engine="postgresql",
        redis=True,
        workers=2,
        server="uvicorn",
        signalling={"SFU": janus.settings},
    )


class Stubborn(FakePeer):
    """It does not go when it is put out: whatever it still gets or brings is not ours to end."""

    async def _is_put_out(self, why: str) -> None:
        self.end = why


async def test_who_was_with_a_worker_that_dies_sees_everybody_again_from_another_one(
    site: Site, measure: Measure
) -> None:
    async with Crowd(site, site.room(p2p_limit=2)) as crowd:
        moved = [await crowd.comes(workers=(0, 1)) for _ in range(2)]
        stayed = [await crowd.comes(workers=(1,)) for _ in range(2)]
        await crowd.receive_all("sfu")
        names = {peer.peer_id for peer in crowd.people}
        begun = time.monotonic()
        site.workers[0].send_signal(signal.SIGKILL)
        site.workers[0].wait()
        await wait_until(lambda: all(peer.resumes for peer in moved), "the way back")
        await crowd.receive_all("sfu")
        took = time.monotonic() - begun
        measure("media are back after the death of a worker", 1000 * took, "ms")
        assert took <= BACK_SECONDS
        assert {peer.peer_id for peer in crowd.people} == names
        assert [peer.resumes for peer in (*moved, *stayed)] == [1, 1, 0, 0]


async def test_who_is_removed_is_seen_no_more_and_sees_nobody_whatever_it_does(
    site: Site, janus: Janus
) -> None:
    async with Crowd(site, site.room(p2p_limit=2)) as crowd:
        await crowd.come(3)
        removed = Stubborn(
            site.worker.url, crowd.code, number=4, token=site.token("mallory"), proxy=None
        )
        await removed.join()
        crowd.people.append(removed)
        await crowd.receive_all("sfu")
        crowd.people.remove(removed)
        others = crowd.people

        def crossed() -> list[int]:
            """What has come of it, and to it."""
            of_it = [peer.frames(removed.peer_id, "sfu") for peer in others]
            return of_it + [removed.frames(peer.peer_id, "sfu") for peer in others]

        peer_id = removed.peer_id
        await asyncio.to_thread(
            site.run_python,
            "from rooms import services; from rooms.models import Participant; "
            f"services.remove_participant(Participant.objects.get(peer_id={peer_id!r}))",
        )
        await wait_until(lambda: removed.end == "4403", "the removal")
        await wait_until(lambda: peer_id not in janus.peers(), "its end in Janus", within=2)
        before = crossed()
        await crowd.moves("sfu")
        await crowd.moves("sfu")
        assert crossed() == before
        await removed.close()
