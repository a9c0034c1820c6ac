"""A server process ends, whatever its threads wait for."""

from __future__ import annotations

import subprocess
import sys

WAITING = """
import logging, threading
from concurrent.futures import ThreadPoolExecutor
from signalling.servers.ending import end_within
logging.basicConfig()
ThreadPoolExecutor(thread_name_prefix="view").submit(threading.Event().wait)
end_within(0.1)
print("stopped")
"""


def test_threads_that_never_return_do_not_keep_a_process() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "stopped\n"), ended.stderr
    assert "Not waiting any longer for these threads: MainThread, view_0" in ended.stderr
