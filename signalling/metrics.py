"""What this process counts. ``prometheus`` exposes it, if prometheus-client is installed.

The event loop's thread counts in plain integers, which are converted when Prometheus scrapes:
counters of ``prometheus_client`` take a lock, which is too expensive for relays.
"""

from __future__ import annotations

import logging
from collections import Counter

from .layers import drops
from .protocol import ClientEvent

requests: Counter[type[ClientEvent]] = Counter()
errors: Counter[str] = Counter()
closes: Counter[int] = Counter()
totals: Counter[str] = Counter()  # keys: "sockets" (currently open), "overflows", "undelivered"
ignored = drops.Drops(logging.getLogger("signalling"))
"""Messages of the channel layer that a socket could not read; the reasons are in ``foreign``."""
