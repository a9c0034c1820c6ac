"""The end of a process of uvicorn."""

from __future__ import annotations

from typing import Any

from uvicorn.server import Server

from .ending import SPARE_SECONDS, end_within

GRACEFUL_SECONDS = 12
"""How long uvicorn waits for connections and requests: longer than a drain."""


def bound_shutdown() -> None:
    """Let each of uvicorn's servers end its process, whatever the threads of the process wait for."""
    shut_down = Server.shutdown

    async def bounded(server: Server, sockets: Any = None) -> None:
        end_within((server.config.timeout_graceful_shutdown or GRACEFUL_SECONDS) + SPARE_SECONDS)
        await shut_down(server, sockets)

    Server.shutdown = bounded  # type: ignore[assignment, method-assign]
