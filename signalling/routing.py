from typing import Any

from channels.security.websocket import WebsocketDenier
from django.urls import path, re_path

from .consumers import SignallingConsumer
from .worker import process

websocket_urlpatterns = [path("ws/signalling/", SignallingConsumer.as_asgi(), name="signalling")]

# Last in a URLRouter: refuses (403) what matches nothing. Daphne would answer 500 and log a traceback.
no_such_socket = re_path(r"", WebsocketDenier.as_asgi())


async def lifespan(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI's lifespan protocol, for plain uvicorn: what it has cut off is left in order at the end."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.shutdown":
            await process.get_worker().drain()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
