"""How often the processes that serve nothing but this application look for reference cycles."""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 100)  # Python's own are (700, 10, 10)


def collect_rarely() -> None:
    """Look for cycles less often, in the whole process; for the two runners, not for other people's.

    A full collection reads every object of every socket: 150 ms at 3,000 sockets, in which nothing is
    relayed. The relay path leaves no cycles behind, so there is little for it to find
    (docs/performance.md has the figures).
    """
    gc.set_threshold(*THRESHOLDS)
