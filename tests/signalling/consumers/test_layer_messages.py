"""Messages from the channel layer that are late, repeated, or for another room or peer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from django.contrib.auth.models import User

from rooms.models import Room
from signalling.layers import ChannelGone
from tests.signalling.consumers.helpers import OFFER, channel_of, send_to_channel
from tests.signalling.sockets import in_room

pytestmark = pytest.mark.django_db(transaction=True)


def roster_change(
    change: str, peer_id: str, room: str = "ABC123", number: int = 1000
) -> dict[str, Any]:
    frame = json.dumps({"event": f"peer:{change}", "data": {"peerId": peer_id}})
    return {
        "type": "signalling.roster",
        "room": room,
        "peer_id": peer_id,
        "channel": "specific.c!x",
        "change": change,
        "number": number,
        "frame": frame,
    }


def announcement(peer_id: str, room: str = "ABC123") -> dict[str, Any]:
    return {"type": "signalling.announcement", "room": room, "peer_id": peer_id, "frame": "{}"}


def room_closed(room: str) -> dict[str, Any]:
    return {"type": "signalling.closed", "room": room, "reason": "closed"}


def relay_message(target: str, sender: str) -> dict[str, Any]:
    return {"type": "signalling.relay", "target": target, "sender": sender, "frame": "{}"}


async def test_a_known_roster_change_is_not_sent_again(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await send_to_channel(channel, roster_change("joined", second.peer_id))
        await first.receive_nothing()
        for _ in range(2):
            await send_to_channel(channel, roster_change("left", second.peer_id))
        await first.receive("peer:left")
        await first.receive_nothing()


async def test_messages_about_unknown_peers_and_other_rooms_are_ignored(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await send_to_channel(channel, roster_change("left", "peer_x"))
        await send_to_channel(channel, roster_change("updated", "peer_x"))
        await send_to_channel(channel, announcement("peer_x"))
        await send_to_channel(channel, announcement(second.peer_id, room="OTHER"))
        await send_to_channel(channel, roster_change("joined", "peer_x", room="OTHER"))
        await send_to_channel(channel, roster_change("left", second.peer_id, room="OTHER"))
        await send_to_channel(channel, room_closed("OTHER"))
        await first.receive_nothing()
        assert (await first.request("leave:room"))["event"] == "ack"


async def test_a_late_announcement_of_an_earlier_join_is_ignored(
    room: Room, alice: User, bob: User
) -> None:
    """A peer with a lower join number than ours is in our roster, or has left since."""
    async with in_room(alice, bob) as (first, _):
        await send_to_channel(await channel_of(first), roster_change("joined", "peer_x", number=0))
        await first.receive_nothing()
        request = {"targetPeerId": "peer_x", "offer": OFFER}
        assert (await first.request("webrtc:offer", request))["data"]["code"] == "peer_not_found"


async def test_relays_to_another_peer_are_ignored_and_those_of_an_unknown_one_refused(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        with pytest.raises(ChannelFull):  # its announcement may be lost, and it is notified
            await send_to_channel(channel, relay_message(target=first.peer_id, sender="peer_x"))
        await send_to_channel(channel, relay_message(target="peer_x", sender=second.peer_id))
        await first.receive_nothing()


async def test_messages_after_a_leave_are_ignored(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await first.request("leave:room")
        await send_to_channel(channel, roster_change("joined", "peer_x"))
        await send_to_channel(channel, roster_change("left", second.peer_id))
        await send_to_channel(channel, room_closed("ABC123"))
        with pytest.raises(ChannelGone):  # to the sender: nothing is lost silently
            await send_to_channel(
                channel, relay_message(target=first.peer_id, sender=second.peer_id)
            )
        await first.receive_nothing()
