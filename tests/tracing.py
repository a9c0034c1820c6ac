"""Which processes of `make test` record the coverage of their code, and when.

``scripts/with-coverage`` sets ``RECORD_COVERAGE`` to the configuration of coverage. Recording makes
Python half as fast, so only these do it:

- the first process of the unit tests, from its start, so that the imports count;
- other processes of tests, from the first test that ``scheduling.is_traced``;
- the processes that such a test starts.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests import scheduling

AT_START = "COVERAGE_PROCESS_START"
"""With this variable a Python process records its coverage from its start."""


def start_with_next_process(arguments: list[str]) -> None:
    """Let the next process of pytest-xdist trace its imports, if it runs unit tests."""
    config = os.environ.get("RECORD_COVERAGE")
    if config and any(scheduling.is_traced(f"{argument}/") for argument in arguments):
        os.environ[AT_START] = config


def start() -> None:
    """Record coverage from now on, in this process and in those that it starts."""
    config = os.environ.get("RECORD_COVERAGE")
    if config and AT_START not in os.environ:
        os.environ[AT_START] = config
        import coverage

        coverage.process_startup()


@contextmanager
def paused() -> Iterator[None]:
    """Record no coverage of this thread and of those that it starts."""
    traces = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        sys.settrace(traces[0])
        threading.settrace(traces[1])
