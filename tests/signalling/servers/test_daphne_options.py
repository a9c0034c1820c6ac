"""Options of Daphne that its command refuses."""

from __future__ import annotations

import subprocess
import sys


def test_proxy_headers_are_refused() -> None:
    """In a process of its own: Daphne installs its reactor when it is imported."""
    command = [
        sys.executable,
        "-m",
        "signalling.servers.daphne",
        "--proxy-headers",
        "x:application",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "SIGNALLING['TRUSTED_PROXIES'] and SECURE_PROXY_SSL_HEADER" in done.stderr
