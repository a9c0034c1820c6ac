from __future__ import annotations

from collections.abc import Iterator

import aioice.ice
import aiortc.rtcrtpreceiver
import pytest

from signalling.crowd.line import estimate_nothing, stay_on_this_machine
from tests.integration.servers import eventually

from .janus import Janus

FORSAKEN_SECONDS = 15.0
"""In which a room that nobody is in any more is gone from Janus."""


@pytest.fixture(scope="session")
def janus_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Janus]:
    janus = Janus(tmp_path_factory.mktemp("janus"))
    janus.start()
    try:
        yield janus
    finally:
        janus.stop()


@pytest.fixture
def janus(janus_of_all: Janus) -> Iterator[Janus]:
    """A Janus that runs, in which no room may be left; a test may kill it."""
    yield janus_of_all
    if not janus_of_all.is_running:
        janus_of_all.start()
    eventually(lambda: not janus_of_all.rooms(), "a room is left in Janus", within=FORSAKEN_SECONDS)


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
