from __future__ import annotations

from collections.abc import Callable, Iterator

import aioice.ice
import aiortc.rtcrtpreceiver
import pytest

from fake_peers.connection import estimate_nothing, stay_on_this_machine
from tests.integration.processes import eventually
from tests.integration.sfu.janus import Janus

Measure = Callable[[str, float, str], None]

FORSAKEN_SECONDS = 15.0
"""In which a room that nobody is in any more is gone from Janus."""


@pytest.fixture(scope="module")
def janus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Janus]:
    """A Janus that runs. A test that stops it starts it again."""
    janus = Janus(tmp_path_factory.mktemp("janus"))
    janus.start()
    try:
        yield janus
    finally:
        janus.stop()


@pytest.fixture
def no_room_is_left(janus: Janus) -> Iterator[None]:
    """Have no room in Janus after a test, and Janus as it was before."""
    yield
    if not janus.is_running:
        janus.start()
    eventually(lambda: not janus.rooms(), "a room is left in Janus", within=FORSAKEN_SECONDS)


@pytest.fixture(autouse=True)
def _frugal_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the crowd does to aiortc is undone with the test."""
    for module, name in (
        (aioice.ice, "get_host_addresses"),
        (aiortc.rtcrtpreceiver, "RemoteBitrateEstimator"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    stay_on_this_machine()
    estimate_nothing()


@pytest.fixture
def measure(request: pytest.FixtureRequest, record_property: Callable[..., None]) -> Measure:
    """Return a function that keeps a figure in the test's report, and says it at the end of the run."""

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
