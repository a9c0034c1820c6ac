"""Options that the server commands refuse."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_proxy_headers_are_refused(server: str) -> None:
    """In a process of its own: Daphne installs its reactor when it is imported."""
    command = [
        sys.executable,
        "-m",
        f"signalling.servers.{server}",
        "--proxy-headers",
        "x:application",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "SIGNALLING['TRUSTED_PROXIES'] and SECURE_PROXY_SSL_HEADER" in done.stderr
