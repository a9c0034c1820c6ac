"""Make ``time.sleep`` work under libfaketime, in the processes that have this folder in PYTHONPATH.

Python sleeps until a time (``clock_nanosleep`` with TIMER_ABSTIME). libfaketime 0.9.10 makes a
duration of it, and the call fails with EINVAL if that is negative.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = sleep
