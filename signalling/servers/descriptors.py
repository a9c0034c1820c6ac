"""How many sockets a process may have open."""

from __future__ import annotations

import sys
from contextlib import suppress


def raise_limit() -> None:
    """Raise the soft limit of file descriptors to the hard one.

    The usual soft limit is 1024, which a thousand incomplete requests use up. It exists for programs
    that use ``select()``. Windows has no such limit.
    """
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS allows less than its hard limit: keep the soft one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
