"""A worker whose clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.stage import Clock
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

BEHIND = 25
"""Seconds, less than the leeway of tokens."""


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """A site with two workers, of which the second has a clock that is behind."""
    site = make_site(engine="postgresql", redis=True, workers=1, server="uvicorn")
    clock = Clock(site.folder / "clock")
    clock.set(-BEHIND)
    site.environment = {**site.environment, **clock.environment, "JWT_LEEWAY": "30"}
    site.start_worker("uvicorn")
    return site


async def test_a_worker_with_a_wrong_clock_gives_the_same_windows(site: Site) -> None:
    code = site.room()
    async with (
        site.client("watcher", worker=0) as watcher,
        site.client("keen", worker=1) as keen,  # its token is from the future
        site.client("keen", worker=0) as again,
    ):
        await watcher.join(code)
        token = (await keen.join(code, resumable=True))["resumeToken"]
        await watcher.wait_for("peer:joined", peerId=keen.peer_id)
        before = datetime.now(UTC)
        await keen.reset()
        away = await watcher.wait_for("peer:away", peerId=keen.peer_id)
        after = datetime.now(UTC)
        window = timedelta(seconds=30)
        slack = timedelta(seconds=1)  # two reads of two clocks
        assert BEHIND < away["seconds"] <= 30
        for until in (
            datetime.fromisoformat(away["until"]),
            site.database.away_until(keen.peer_id),
        ):
            assert until is not None
            assert before + window - slack <= until <= after + window + slack
        assert (await again.resume(code, token))["peerId"] == keen.peer_id
