"""A consumer as in the tutorials, on the channel layers of Channels and channels_redis.

The environment variable LAYER is the backend, REDIS_URL its Redis. No identity and no checks.
"""

import os
from typing import Any

from django.conf import settings

backend = os.environ.get("LAYER", "channels.layers.InMemoryChannelLayer")
redis = {"CONFIG": {"hosts": [os.environ["REDIS_URL"]]}} if "REDIS_URL" in os.environ else {}
settings.configure(
    SECRET_KEY=os.environ["SECRET_KEY"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": backend, **redis}},
)

from django.core.asgi import get_asgi_application  # noqa: E402

http = get_asgi_application()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class RelayConsumer(AsyncJsonWebsocketConsumer):
    """Uses channel names as peer ids and relays with ``channel_layer.send``."""

    room = ""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        data = content["data"]
        if content["event"] == "join:room":
            await self.join(f"room_{data['roomCode']}")
            return
        relayed = {**data, "fromPeerId": self.channel_name}
        message = {"type": "peer.event", "event": content["event"], "data": relayed}
        await self.channel_layer.send(data["targetPeerId"], message)

    async def join(self, room: str) -> None:
        joined = {"peerId": self.channel_name}
        await self.send_json({"event": "room:joined", "data": {"roomId": room, **joined}})
        await self.channel_layer.group_send(
            room, {"type": "peer.event", "event": "peer:joined", "data": joined}
        )
        self.room = room
        await self.channel_layer.group_add(room, self.channel_name)

    async def peer_event(self, message: dict[str, Any]) -> None:
        await self.send_json({"event": message["event"], "data": message["data"]})

    async def disconnect(self, code: int) -> None:
        if self.room:
            await self.channel_layer.group_discard(self.room, self.channel_name)


application = ProtocolTypeRouter(
    {"http": http, "websocket": URLRouter([path("ws/", RelayConsumer.as_asgi())])}
)
