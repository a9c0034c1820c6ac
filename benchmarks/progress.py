"""Progress messages on standard error; the results go to standard output."""

from __future__ import annotations

import sys
import time

_started_at = time.monotonic()


def log(text: str) -> None:
    """Print a line with the seconds since the start of the run."""
    print(f"[{time.monotonic() - _started_at:5.0f} s] {text}", file=sys.stderr, flush=True)
