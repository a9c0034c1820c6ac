"""Faults in the consumer's own work: a full queue, a bug, a misconfigured channel layer."""

from __future__ import annotations

from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from pytest_django import Settings

from rooms import services
from rooms.models import Room
from signalling.peers.replies import Replies
from signalling.peers.resumption import Resumption
from signalling.transport.send_queue import Overflow
from tests.signalling.consumers.helpers import OFFER, channel_of, raise_bug, send_to_channel
from tests.signalling.sockets import connected, in_room, open_socket

pytestmark = pytest.mark.django_db(transaction=True)


def overflow(*arguments: Any) -> None:
    raise Overflow


async def test_a_misconfigured_channel_layer_is_reported_to_the_client(
    room: Room, bob: User, settings: Settings
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "no.such.Layer"}}
    async with connected(bob) as socket:
        await socket.receive_error("unavailable")
        assert await socket.receive_close() == 4503


async def test_a_refresh_that_fills_the_queue_closes_the_socket(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (first,):
        channel = await channel_of(first)
        join = database_sync_to_async(services.join)
        await join(code="ABC123", user=bob, peer_id="peer_unannounced", channel_name="nowhere")
        monkeypatch.setattr(Replies, "write", overflow)
        await send_to_channel(channel, {"type": "channel.missed"})
        await first.receive_error("peer_busy")
        assert await first.receive_close() == 4508


async def test_a_bug_at_a_receiver_with_a_full_queue_does_not_affect_the_sender(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_room(alice, bob) as (first, second):
        with monkeypatch.context() as patch:
            patch.setattr(Resumption, "receive", raise_bug)
            patch.setattr(Replies, "write", overflow)
            await second.send("webrtc:offer", {"targetPeerId": first.peer_id, "offer": OFFER})
            await first.receive_error("peer_busy")
            assert await first.receive_close() == 4508
        await first.disconnect(1006)
        assert (await second.receive("peer:left"))["peerId"] == first.peer_id
        await second.receive_nothing()


async def test_held_frames_that_may_have_been_lost_are_reported_as_a_gap(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.receive("peer:joined")
        await second.disconnect(1006)
        await first.receive("peer:away")
        ice = {"targetPeerId": second.peer_id, "candidate": "candidate:1"}
        await first.send("webrtc:ice", ice)
        await first.receive_nothing()
        again = await open_socket(bob)
        token = (await again.join(resumable=True, resumeToken=token))["resumeToken"]
        await again.receive("webrtc:ice")
        await again.disconnect(1006)
        last = await open_socket(bob)
        assert (await last.join(resumable=True, resumeToken=token))["gap"] is True
        await last.disconnect()
