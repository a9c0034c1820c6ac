"""A fixture for the tests of sites: ``pytest_plugins = ["signalling.testing.plugin"]``.

Requires pytest-django and the extra ``uvicorn``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import LiveServer


@pytest.fixture
def signalling_server(transactional_db: None) -> Iterator[LiveServer]:
    """The site on a free port, with WebSockets: pytest-django's ``live_server`` has none."""
    server = LiveServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()
