"""The WebSocket routes and the lifespan handler that a site mounts in its ASGI application."""

from typing import Any

from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from .consumers import SignallingConsumer
from .worker import process

websocket_urlpatterns = [path("ws/signalling/", SignallingConsumer.as_asgi(), name="signalling")]

# Last in a URLRouter: answers 403 to other paths. Without it Daphne answers 500 with a traceback.
no_such_socket = re_path(r"", WebsocketDenier.as_asgi())


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Drain at the shutdown of an ASGI server with lifespan support, such as plain uvicorn."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.shutdown":
            await process.get_worker().drain()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
