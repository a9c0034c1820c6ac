"""How much the tests with random input or repeated rounds do: ``EFFORT=10 make test`` does ten times as
much as ``make test``.
"""

from __future__ import annotations

import os

EFFORT = float(os.environ.get("EFFORT", "1"))


def effort(count: int) -> int:
    """Return how often to do something that is done ``count`` times in a normal run."""
    return max(1, round(count * EFFORT))
