"""When calls fail at once: one probe decides."""

from __future__ import annotations

import asyncio

import pytest

from signalling.database import breaker
from signalling.database.breaker import Breaker
from tests.patience import PATIENCE


class FakeProbe:
    """A probe whose results a test sets."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False
        self.count = self.interrupted = 0
        self.was_thorough = False

    async def run(self, *, thoroughly: bool) -> None:
        self.count += 1
        self.was_thorough = thoroughly
        await asyncio.sleep(3600 if self.hangs else 0)
        if self.error is not None:
            raise self.error

    def interrupt(self) -> None:
        self.interrupted += 1


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> FakeProbe:
    monkeypatch.setattr(breaker, "PROBE_SECONDS", 0.2)
    return FakeProbe()


async def until(condition: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_failed_call_is_no_outage_if_the_probe_succeeds(probe: FakeProbe) -> None:
    opened: list[str] = []
    tested = Breaker(probe, on_open=lambda: opened.append("open"))
    for _ in range(10):
        tested.suspect(at_once=True)
    assert await tested.check()
    assert (probe.count, tested.is_open, opened) == (1, False, [])


@pytest.mark.parametrize("hangs", [False, True])
async def test_an_outage_lasts_until_a_thorough_probe_succeeds(
    probe: FakeProbe, hangs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[str] = []
    tested = Breaker(probe, on_open=lambda: opened.append("open"))
    probe.hangs, probe.error = hangs, None if hangs else ConnectionError("refused")
    tested.suspect()
    assert not await tested.check()
    assert (tested.is_open, opened) == (True, ["open"])
    await until(lambda: probe.count > 2)
    assert probe.was_thorough
    assert probe.interrupted or not hangs
    probe.hangs, probe.error = False, None
    await until(lambda: not tested.is_open)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == ["Database unavailable", "Database available"]
    assert opened == ["open"]


async def test_an_outage_ends_although_its_begin_was_not_handled(
    probe: FakeProbe, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    tested = Breaker(probe, on_open=fail)
    probe.error = OSError("unavailable")
    assert not await tested.check()
    probe.error = None
    await until(lambda: not tested.is_open)
    assert "a bug" in caplog.text


async def test_recent_results_are_shared(probe: FakeProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PROBE_SECONDS", 3600)
    tested = Breaker(probe, on_open=lambda: None)
    assert all(await asyncio.gather(*(tested.check() for _ in range(20))))
    assert await tested.check()
    tested.suspect()
    await asyncio.sleep(0)
    assert probe.count == 1


async def test_a_suspended_process_does_not_take_the_database_for_unavailable(
    probe: FakeProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LATE_SECONDS", -3600)  # each result comes too late
    tested = Breaker(probe, on_open=lambda: None)
    probe.hangs = True
    tested.suspect()
    await until(lambda: probe.count > 2)
    assert not tested.is_open
    probe.hangs = False
    assert await tested.check()


async def test_sqlite_is_probed_for_its_health_only(probe: FakeProbe) -> None:
    tested = Breaker(probe, on_open=lambda: None, may_open=False)
    tested.suspect(at_once=True)
    assert probe.count == 0
    probe.error = ConnectionError("unable to open the file")
    assert not await tested.check()
    assert not tested.is_open
