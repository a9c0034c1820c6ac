from __future__ import annotations

from collections.abc import Callable, Iterator

import aioice.ice
import aiortc.rtcrtpreceiver
import pytest

from fake_peers.tuning import disable_bandwidth_estimation, gather_one_local_candidate
from tests.integration.processes import eventually
from tests.integration.sfu.janus import Janus

Measure = Callable[[str, float, str], None]

UNUSED_ROOM_SECONDS = 15.0
"""How long an unused room may stay in Janus."""


@pytest.fixture(scope="session")
def janus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Janus]:
    """The Janus of all tests. A test that stops it must start it again."""
    janus = Janus(tmp_path_factory.mktemp("janus"))
    janus.start()
    try:
        yield janus
    finally:
        janus.stop()


@pytest.fixture
def no_rooms_left(janus: Janus) -> Iterator[None]:
    """Check that no room is left in Janus after a test. Start Janus if the test stopped it."""
    yield
    if not janus.is_running:
        janus.start()
    eventually(lambda: not janus.rooms(), "a room is left in Janus", within=UNUSED_ROOM_SECONDS)


@pytest.fixture(autouse=True)
def _tuned_aiortc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune aiortc as ``python -m fake_peers`` does, and undo it after the test."""
    for module, name in (
        (aioice.ice, "get_host_addresses"),
        (aiortc.rtcrtpreceiver, "RemoteBitrateEstimator"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    gather_one_local_candidate()
    disable_bandwidth_estimation()


@pytest.fixture
def measure(request: pytest.FixtureRequest, record_property: Callable[..., None]) -> Measure:
    """Return a function that records a figure, which is printed at the end of the run."""

    def measure(what: str, value: float, unit: str) -> None:
        record_property(what, f"{value:.0f} {unit}")
        request.config.stash.setdefault(MEASURED, []).append(f"{what}: {value:.0f} {unit}")

    return measure


MEASURED = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    measured = terminalreporter.config.stash.get(MEASURED, [])
    if measured:
        terminalreporter.section("measured")
        for line in measured:
            terminalreporter.write_line(line)
