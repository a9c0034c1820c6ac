"""``SIGNALLING["CONTEXT"]``: what surrounds the database calls of a socket, such as its tenant.

The middleware puts the context of a handshake into a context variable, so the calls of the task of
the socket, and of its tasks, have it. Parts of a socket that other tasks use keep it: its stores, its
membership and its identity. The work of the worker has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import Any

from rooms.conf import hook
from signalling.conf import conf

Surroundings = Callable[[], AbstractContextManager[Any]]
"""Returns a new context manager for one call, which enters it in its thread."""

NONE: Surroundings = nullcontext
_current: ContextVar[Surroundings] = ContextVar("surroundings", default=NONE)


def of(scope: dict[str, Any]) -> Surroundings:
    """Return the surroundings that the site makes from the scope of a handshake."""
    path = conf().context
    return partial(hook(path), scope) if path else NONE


def current() -> Surroundings:
    """Return the surroundings of the socket to which the running task belongs."""
    return _current.get()


@contextmanager
def use(surroundings: Surroundings) -> Iterator[None]:
    """Let the calls of this task have these surroundings, and those of tasks that it starts."""
    token = _current.set(surroundings)
    try:
        yield
    finally:
        _current.reset(token)
