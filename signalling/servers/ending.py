"""The end of a server process, whatever its threads still wait for."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress

logger = logging.getLogger("signalling")

SPARE_SECONDS = 2.0
"""How long Python may take to end a process after its server has stopped."""


def end_within(seconds: float) -> None:
    """End this process with exit code 0 after some seconds, if it has not ended until then.

    At its end Python waits for the threads of ``concurrent.futures`` without a limit. One of them may
    run a view of the site that waits for a database.
    """
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    names = sorted(thread.name for thread in threading.enumerate() if not thread.daemon)
    logger.warning("Not waiting any longer for these threads: %s", ", ".join(names))
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)
