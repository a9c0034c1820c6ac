"""A client for programs that take part in calls: bots, recorders, benchmarks. Does not need Django.

    async with ResumingClient("wss://example.org/ws/signalling/", token=token) as client:
        room = await client.join("ABC123")
        for peer in room["peers"]:
            await client.relay(peer["id"], "offer", {"type": "offer", "sdp": sdp})
        async for event, data in client:
            if event == "webrtc:answer":
                ...

Requires the ``websockets`` package: ``pip install django-signalling[client]``.
"""

from .connection import ConnectionLost, RequestRefused
from .events import ClientClosed, Event, State
from .resuming import ResumingClient

__all__ = ["ClientClosed", "ConnectionLost", "Event", "RequestRefused", "ResumingClient", "State"]
