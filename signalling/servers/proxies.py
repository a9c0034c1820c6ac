"""The option ``--proxy-headers`` of both servers, which is refused.

Daphne takes the first entry of ``X-Forwarded-For``, which the client has written. uvicorn trusts each
process of its machine, or every proxy (``FORWARDED_ALLOW_IPS=*``). ``TRUSTED_PROXIES`` decides instead,
for sockets, the REST API and pages; see ``rooms.addresses``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

OPTION = "--proxy-headers"
FORGEABLE = (
    f"{OPTION} lets clients forge their addresses. Set SIGNALLING['TRUSTED_PROXIES'] and "
    "SECURE_PROXY_SSL_HEADER instead"
)


def check_options(options: Iterable[str]) -> None:
    """End the process with status 2 if an option lets clients choose their address."""
    if OPTION in options:
        sys.stderr.write(f"error: {FORGEABLE}\n")
        raise SystemExit(2)
