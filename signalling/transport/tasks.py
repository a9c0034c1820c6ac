"""Tasks that are begun and held, and nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any


def spawn(work: Coroutine[Any, Any, None], held: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """Begin a task and hold it in ``held`` until it is done: the event loop itself does not.

    It has a context of its own. What a signal's receiver has the channel layer deliver comes with the one
    of an ``async_to_sync`` that is about to end, and database calls would be sent to its thread.
    """
    task = asyncio.get_running_loop().create_task(work, context=Context())
    held.add(task)
    task.add_done_callback(held.discard)
    return task
