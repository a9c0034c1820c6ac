"""A client for programs that take part in calls: bots, recorders, benchmarks. Needs no Django.

    async with ResumingClient("wss://example.org/ws/signalling/", token=token) as client:
        room = await client.join("ABC123")
        for peer in room["peers"]:
            await client.relay(peer["id"], "offer", {"type": "offer", "sdp": sdp})
        async for event, data in client:
            if event == "webrtc:answer":
                ...

Needs the ``websockets`` package: ``pip install django-signalling[client]``.
"""

from .connection import Refused, Unanswered
from .resuming import Closed, Event, ResumingClient, State

__all__ = ["Closed", "Event", "Refused", "ResumingClient", "State", "Unanswered"]
