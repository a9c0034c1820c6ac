"""Background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any


def spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    """Start a task, and keep it in ``tasks`` until it is done.

    Event loops only hold weak references to tasks.

    The task runs in an empty context. A message that a signal receiver sends through
    ``async_to_sync`` is delivered in the context of that call: database calls of the task would be
    sent to its thread, which is about to end.
    """
    task = asyncio.get_running_loop().create_task(work, context=Context())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
