"""Relays that are refused, or lost after they were acknowledged, and those that came early."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from signalling.peers.early import EarlyMessages
from signalling.peers.messages import ChannelMissed, Relayed
from signalling.transport.send_queue import Overflow, SendQueue
from signalling.transport.shares import ShareExceeded
from signalling.worker.process import get_worker
from tests.signalling.consumers.helpers import CANDIDATE, channel_of, send_to_channel
from tests.signalling.sockets import in_room


def relayed(sender: str, user: str, frame: str = "{}") -> Relayed:
    return Relayed(
        type="signalling.relay",
        target="peer_me",
        sender=sender,
        user=user,
        number=1,
        reply_channel="",
        frame=frame,
    )


def refuse(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every send queue refuse the relays of a user."""
    put = SendQueue.put

    def put_or_refuse(queue: SendQueue, event: Any, sender: str | None = None) -> None:
        if sender == user:
            raise ShareExceeded
        put(queue, event, sender)

    monkeypatch.setattr(SendQueue, "put", put_or_refuse)


@pytest.mark.django_db(transaction=True)
async def test_the_sender_whose_share_is_full_gets_peer_busy_and_no_socket_closes(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_room(alice, bob, alice) as (first, second, third):
        refuse(str(alice.pk), monkeypatch)
        ice = {"targetPeerId": second.peer_id, "candidate": CANDIDATE}
        for socket in (first, third):  # the sockets of a user are one sender
            answer = await socket.request("webrtc:ice", ice)
            assert (answer["data"]["code"], answer["data"]["retryAfter"]) == ("peer_busy", 1)
        await second.receive_nothing()
        ice["targetPeerId"] = first.peer_id
        assert (await second.request("webrtc:ice", ice))["event"] == "ack"
        await first.receive("webrtc:ice")


@pytest.mark.django_db(transaction=True)
async def test_a_refusal_that_comes_later_names_the_target(
    room: Room, alice: User, bob: User
) -> None:
    """It comes from another process: the relay has been acknowledged."""
    async with in_room(alice, bob) as (first, second):
        refused = {"type": "channel.refused", "channel": await channel_of(second)}
        await send_to_channel(await channel_of(first), refused)
        error = await first.receive_error("peer_busy")
        assert (error["targetPeerId"], error["retryAfter"]) == (second.peer_id, 1)
        await first.receive_nothing()


@pytest.mark.usefixtures("layer")
@pytest.mark.django_db(transaction=True)
async def test_a_stock_layer_notifies_the_sender(
    room: Room,
    alice: User,
    bob: User,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with in_room(alice, bob) as (first, second):
        refuse(str(alice.pk), monkeypatch)
        await first.send("webrtc:ice", {"targetPeerId": second.peer_id, "candidate": CANDIDATE})
        assert (await first.receive_error("peer_busy"))["targetPeerId"] == second.peer_id
        assert "Could not deliver" not in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_an_early_relay_over_its_share_is_reported_to_its_sender(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted while the target was joining, and cannot be written any more."""
    async with in_room(alice, bob) as (first, second):
        refuse("eve", monkeypatch)
        early = relayed(second.peer_id, "eve")
        early["target"] = first.peer_id
        early["reply_channel"] = await channel_of(second)
        monkeypatch.setattr(EarlyMessages, "take", lambda self: [early])
        sockets: Any = get_worker().sockets
        for socket in sockets:
            if socket.membership.peer_id == first.peer_id:
                socket.seated()
        assert (await second.receive_error("peer_busy"))["targetPeerId"] == first.peer_id
        monkeypatch.undo()


def test_early_relays_are_bounded_for_each_user_and_apart_from_the_rest() -> None:
    early = EarlyMessages(4, 100)
    early.keep(relayed("peer_1", "eve"))
    early.keep(relayed("peer_2", "eve"))
    with pytest.raises(ShareExceeded):
        early.keep(relayed("peer_1", "eve"))
    with pytest.raises(ShareExceeded):
        early.keep(relayed("peer_3", "bob", "x" * 97))
    early.keep(relayed("peer_3", "bob"))
    for _ in range(4):
        early.keep(ChannelMissed(type="channel.missed"))
    with pytest.raises(Overflow):
        early.keep(ChannelMissed(type="channel.missed"))
    assert len(early.take()) == 7
    for _ in range(2):
        early.keep(relayed("peer_1", "eve"))
    assert len(early.take()) == 2
