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
