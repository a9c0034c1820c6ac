"""What a server has read from one client, and its consumer has not taken yet."""

from __future__ import annotations

import asyncio
from typing import Any


class ReceiveQueue(asyncio.Queue[dict[str, Any]]):
    """A queue that knows its loop.

    An ``asyncio.Queue`` asks for the running one at each wait. In Python 3.11 that is a system call
    (``getpid``), a tenth of what a relay costs; where the method below is not asked, it is only slower.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own_loop = asyncio.get_running_loop()

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        return self._own_loop
