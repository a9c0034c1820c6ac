from __future__ import annotations

from collections.abc import Iterator

import pytest

from .janus import Janus


@pytest.fixture(scope="module")
def janus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Janus]:
    """A Janus that runs. A test that stops it starts it again."""
    janus = Janus(tmp_path_factory.mktemp("janus"))
    janus.start()
    try:
        yield janus
    finally:
        janus.stop()
