"""Payloads, and what the database and the channel layer know about the sockets."""

from __future__ import annotations

from typing import Any

from channels.layers import get_channel_layer
from django.db import OperationalError

from rooms.models import Participant
from signalling.peers.messages import room_group
from tests.signalling.sockets import AppSocket

OFFER = {"type": "offer", "sdp": "v=0\r\n"}
ANSWER = {"type": "answer", "sdp": "v=0\r\n"}
CANDIDATE = "candidate:1 1 UDP 2130706431 192.0.2.1 54321 typ host"


async def live_peer_ids() -> list[str]:
    """Return the ids of the peers that have a seat, in the order of their seats."""
    return [peer.peer_id async for peer in Participant.objects.live().order_by("seat")]


async def channel_of(socket: AppSocket) -> str:
    """Return the channel name of the socket's peer."""
    return (await Participant.objects.aget(peer_id=socket.peer_id)).channel_name


def subscriber_count(code: str = "ABC123") -> int:
    """Return the number of channels in the group of a room."""
    return len(get_channel_layer().groups.get(room_group(code), {}))


async def send_to_channel(channel: str, message: dict[str, Any]) -> None:
    """Send a channel-layer message to the socket with this channel."""
    await get_channel_layer().send(channel, message)


def raise_bug(*arguments: object) -> None:
    raise RuntimeError("a bug")


def raise_database_unavailable(*arguments: object, **keywords: object) -> None:
    raise OperationalError("the database is unavailable")
