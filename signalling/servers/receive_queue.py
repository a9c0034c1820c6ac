"""The queue of frames that a server has read and the consumer has not handled yet."""

from __future__ import annotations

import asyncio
from typing import Any


class ReceiveQueue(asyncio.Queue[dict[str, Any]]):
    """A queue that stores its event loop.

    ``asyncio.Queue`` looks up the running loop at each wait. In Python 3.11 that is a system call
    (``getpid``), a tenth of the cost of a relay. Where ``_get_loop`` is not called, the queue is
    merely slower.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own_loop = asyncio.get_running_loop()

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        return self._own_loop
