"""``Releases``: rows without a socket, some of which are locked."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from rooms import outages, reconciling
from rooms.reconciling import Row
from signalling.worker import releases
from signalling.worker.releases import Release, Releases

from .clock import StoppedClock

# Nothing is read, but the thread of the calls looks after its connection.
pytestmark = pytest.mark.django_db


class Database:
    """Calls of ``release``, each of which takes ``seconds``. Those of ``locked`` peers fail."""

    def __init__(self, clock: StoppedClock) -> None:
        self._clock = clock
        self.seconds = 0.0
        self.locked: set[str] = set()
        self.calls: list[tuple[str, int, bool]] = []

    def release(self, peer_id: str, *, epoch: int, may_resume: bool) -> None:
        self._clock.now += self.seconds
        self.calls.append((peer_id, epoch, may_resume))
        if peer_id in self.locked:
            raise outages.RowLocked

    def take(self) -> list[str]:
        taken, self.calls = self.calls, []
        return [peer_id for peer_id, _, _ in taken]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    database = Database(StoppedClock(monkeypatch, releases))
    monkeypatch.setattr(reconciling, "release", database.release)
    return database


def wrong(*peer_ids: str, **values: Any) -> list[Release]:
    columns = {"channel_name": "", "worker_id": "w", "left_at": None, "away_until": None}
    rest = {"epoch": 2, "resume_hash": "", "reason": ""}
    return [Release(Row(peer_id, **columns, **rest), may_resume=False) for peer_id in peer_ids]  # type: ignore[arg-type]


async def test_rows_are_released_with_their_epochs(database: Database) -> None:
    (first,), (second,) = wrong("a"), wrong("b")
    await Releases().run([first, second._replace(may_resume=True)])
    assert database.calls == [("a", 2, False), ("b", 2, True)]


async def test_a_heartbeat_has_a_moment_for_releases_and_makes_at_least_one(
    database: Database,
) -> None:
    database.seconds = releases.RELEASE_SECONDS / 2
    await Releases().run(wrong("a", "b", "c", "d"))
    assert database.take() == ["a", "b", "c"]
    database.seconds = 10 * releases.RELEASE_SECONDS
    await Releases().run(wrong("a", "b"))
    assert database.take() == ["a"]


async def test_locked_rows_hold_up_no_other_for_good(database: Database) -> None:
    tested = Releases()
    database.locked, database.seconds = {"a", "b"}, releases.RELEASE_SECONDS
    await tested.run(wrong("a", "b", "c"))
    assert database.take() == ["a", "b"]
    await tested.run(wrong("a", "b", "c"))
    assert database.take() == ["c", "a"]
    database.locked.clear()
    await tested.run([])
    await tested.run(wrong("a", "d"))
    assert database.take() == ["a", "d"]


async def test_an_outage_is_raised(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(reconciling, "release", fail)
    with pytest.raises(OperationalError):
        await Releases().run(wrong("a"))
