"""``DetachedPeer`` on the local layer, without sockets."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from unittest.mock import AsyncMock

import pytest
from channels.exceptions import ChannelFull
from django.db import OperationalError

from signalling import metrics
from signalling.layers import ChannelGone, LocalChannelLayer
from signalling.peers import detached
from signalling.peers.detached import DetachedPeer
from signalling.peers.membership import Membership
from signalling.peers.messages import Relayed, left
from signalling.protocol import errors
from signalling.transport.subscription import ChannelSubscription
from tests.patience import PATIENCE


def relayed(number: int, frame: str = "frame", target: str = "peer_me") -> dict[str, Any]:
    return dict(
        Relayed(
            type="signalling.relay",
            target=target,
            sender="peer_other",
            number=number,
            reply_channel="",
            frame=frame,
        )
    )


def back(channel: str, number: int = 2) -> dict[str, Any]:
    """Announce that the peer has resumed on another socket."""
    left_elsewhere = left("ABC123", "peer_me", "")
    return {**left_elsewhere, "change": "back", "number": number, "channel": channel}


class Harness:
    """A detached peer on a layer, and the channel of a socket that can take it over."""

    def __init__(self) -> None:
        self.layer = LocalChannelLayer()
        self.received: list[dict[str, Any]] = []
        self.ended: list[DetachedPeer] = []

    async def detach(self, **options: Any) -> DetachedPeer:
        subscription = ChannelSubscription(self.layer, self.received.append)
        await subscription.open()
        settings = {"limits": (6, 150), "lifetime": 60.0, **options}
        membership = Membership("ABC123", peer_id="peer_me", epoch=1)
        return DetachedPeer(subscription, membership, on_end=self.ended.append, **settings)

    async def subscribe(self) -> ChannelSubscription:
        subscription = ChannelSubscription(self.layer, self.received.append)
        await subscription.open()
        return subscription

    async def take_over(self, peer: DetachedPeer, by: ChannelSubscription) -> None:
        takeover = {"type": "signalling.takeover", "peer_id": "peer_me", "reply_channel": by.name}
        await self.layer.send(peer.subscription.name, takeover)


async def test_it_holds_relays_up_to_its_limits_and_refuses_the_rest() -> None:
    harness = Harness()
    peer = await harness.detach()
    harness.layer.put(peer.subscription.name, relayed(1, "x" * 60))
    with pytest.raises(ChannelFull):
        harness.layer.put(peer.subscription.name, relayed(2, "x" * 60))
    for number in (3, 4):
        harness.layer.put(peer.subscription.name, relayed(number, "y"))
    with pytest.raises(ChannelFull):
        harness.layer.put(peer.subscription.name, relayed(5, "z"))
    assert [number for _, number, _ in peer.frames] == [1, 3, 4]


@pytest.mark.parametrize("kind", ["channel.lost", "channel.refused"])
async def test_the_report_of_a_loss_reaches_the_socket_that_has_taken_over(kind: str) -> None:
    harness = Harness()
    peer = await harness.detach()
    successor = await harness.subscribe()
    report = {"type": kind, "channel": "channel!target"}
    await harness.layer.send(peer.subscription.name, report)
    await harness.take_over(peer, successor)
    (handover,) = harness.received
    assert handover["gap"] is True
    await harness.layer.send(peer.subscription.name, report)
    assert harness.received[1:] == [report]
    await successor.close()
    await harness.layer.send(peer.subscription.name, report)  # raises nothing
    peer.end()


async def test_it_holds_no_relay_that_a_former_channel_forwards_after_a_newer_one() -> None:
    harness = Harness()
    peer = await harness.detach()
    for number in (5, 6):
        harness.layer.put(peer.subscription.name, relayed(number))
    with pytest.raises(ChannelFull):
        harness.layer.put(peer.subscription.name, relayed(4))
    harness.layer.put(peer.subscription.name, {**relayed(1), "epoch": 1})  # it counts again
    assert [number for _, number, _ in peer.frames] == [5, 6, 1]
    peer.end()


async def test_the_report_of_a_loss_that_is_passed_on_names_the_peer() -> None:
    """The new socket may never have known the channel."""
    harness = Harness()
    peer, successor = await harness.detach(), await harness.subscribe()
    peer.membership.roster["peer_other"] = "channel!now"
    peer.membership.previous_channels.add("channel!before", "peer_other")
    await harness.take_over(peer, successor)
    for channel in ("channel!now", "channel!before"):
        await harness.layer.send(
            peer.subscription.name, {"type": "channel.lost", "channel": channel}
        )
        assert harness.received[-1] == {
            "type": "channel.lost",
            "channel": channel,
            "peer_id": "peer_other",
        }
    passed = harness.received[-1]
    await harness.layer.send(peer.subscription.name, passed)  # from its own former socket
    assert harness.received[-1] == passed
    peer.end()


async def test_the_sockets_of_a_user_share_what_is_held_and_leave_room_for_others() -> None:
    harness = Harness()
    peer = await harness.detach()
    sent = 0
    for number in range(1, 7):
        message = {**relayed(number), "sender": f"peer_{number}", "user": "eve"}
        with suppress(ChannelFull):
            harness.layer.put(peer.subscription.name, message)
            sent += 1
    assert sent == 3
    harness.layer.put(peer.subscription.name, {**relayed(1), "user": "carol"})
    assert len(peer.frames) == 4


async def test_frames_from_before_count() -> None:
    """A peer that loses one socket after another must not hold more and more."""
    harness = Harness()
    peer = await harness.detach(frames=[("peer_other", number, "x") for number in range(1, 6)])
    harness.layer.put(peer.subscription.name, relayed(6))
    with pytest.raises(ChannelFull):
        harness.layer.put(peer.subscription.name, relayed(7))
    full = await harness.detach(frames=[("peer_other", 1, "x" * 300)])
    with pytest.raises(ChannelFull):
        harness.layer.put(full.subscription.name, relayed(2))


async def test_it_hands_over_once_and_forwards_later_relays() -> None:
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    harness.layer.put(peer.subscription.name, relayed(1))
    await harness.take_over(peer, socket)
    harness.layer.put(peer.subscription.name, relayed(2))
    handover, forwarded = harness.received
    assert handover["frames"] == [("peer_other", 1, "frame")]
    assert (handover["received"], handover["gap"]) == ({"peer_other": 1}, False)
    assert forwarded == relayed(2)
    assert harness.ended == [peer]
    peer.end()


async def test_it_ignores_messages_for_other_peers() -> None:
    harness = Harness()
    peer = await harness.detach()
    harness.layer.put(peer.subscription.name, relayed(1, target="peer_former"))
    harness.layer.put(peer.subscription.name, dict(left("ABC123", "peer_other", "left")))
    assert (peer.frames, peer.has_ended) == ([], False)
    peer.end()


@pytest.mark.parametrize(
    "message",
    [
        left("ABC123", "peer_me", "disconnected"),
        {"type": "signalling.removed", "room": "ABC123", "peer_id": "peer_me"},
        {"type": "signalling.closed", "room": "ABC123", "reason": "closed"},
    ],
)
async def test_it_ends_with_the_membership(message: dict[str, Any]) -> None:
    harness = Harness()
    peer = await harness.detach()
    harness.layer.put(peer.subscription.name, message)
    assert peer.has_ended
    assert harness.ended == [peer]
    with pytest.raises(ChannelGone):
        harness.layer.put(peer.subscription.name, relayed(1))
    assert peer._closing is not None
    await peer._closing
    with pytest.raises(ChannelGone):
        harness.layer.put(peer.subscription.name, relayed(1))


async def test_without_a_takeover_it_forwards_what_it_holds_and_what_follows() -> None:
    """Peers that do not know of the new socket yet still send to this one."""
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    harness.layer.put(peer.subscription.name, relayed(1))
    harness.layer.put(peer.subscription.name, back(socket.name))
    harness.layer.put(peer.subscription.name, relayed(2))
    harness.layer.put(peer.subscription.name, back("channel!later", number=3))
    harness.layer.put(peer.subscription.name, relayed(3))
    assert harness.received == [relayed(1), relayed(2), relayed(3)]
    assert (peer.frames, harness.ended) == ([], [peer])
    peer.end()


async def test_what_a_new_socket_does_not_take_is_reported_to_its_sender() -> None:
    harness = Harness()
    peer, sender = await harness.detach(), await harness.subscribe()
    held = {**relayed(1), "reply_channel": sender.name}
    harness.layer.put(peer.subscription.name, held)
    closed = await harness.subscribe()
    await closed.close()
    harness.layer.put(peer.subscription.name, back(closed.name))
    lost = {"type": "channel.lost", "channel": peer.channel_name, "peer_id": "peer_me"}
    assert harness.received == [lost]
    with pytest.raises(ChannelGone):  # to the sender
        harness.layer.put(peer.subscription.name, relayed(2))
    peer.end()


async def test_it_ends_after_its_lifetime() -> None:
    harness = Harness()
    ended = asyncio.Event()
    peer = await harness.detach(lifetime=0.01)
    peer._on_end = lambda peer: ended.set()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()


async def test_after_stop_holding_it_refuses_relays_and_still_hands_over() -> None:
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    harness.layer.put(peer.subscription.name, relayed(1))
    peer.stop_holding()
    with pytest.raises(ChannelFull):
        harness.layer.put(peer.subscription.name, relayed(2))
    await harness.take_over(peer, socket)
    assert [number for _, number, _ in harness.received[0]["frames"]] == [1]
    peer.end()


async def test_frames_that_were_stored_are_not_forwarded_as_well() -> None:
    """A socket that resumes the peer afterwards gets them from the database."""
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    harness.layer.put(peer.subscription.name, relayed(1))
    peer.stop_holding()
    peer.forget_held()
    harness.layer.put(peer.subscription.name, back(socket.name))
    assert peer.moved_to == socket.name
    assert harness.received == []
    peer.end()


@pytest.mark.parametrize(
    "message",
    [{"type": "room.reactions"}, {"type": "signalling.relay"}, {"type": "signalling.mode"}, {}],
)
async def test_it_ignores_messages_of_another_build(message: dict[str, Any]) -> None:
    harness = Harness()
    peer = await harness.detach()
    before = metrics.ignored.counts.total()
    harness.layer.put(peer.subscription.name, message)
    assert metrics.ignored.counts.total() == before + 1
    assert (peer.has_ended, peer.frames) == (False, [])
    peer.end()


async def test_messages_for_sockets_alone_are_not_counted() -> None:
    harness = Harness()
    peer = await harness.detach()
    before = metrics.ignored.counts.total()
    for name in ("signalling.announcement", "signalling.handover", "channel.missed"):
        harness.layer.put(peer.subscription.name, {"type": name})
    assert metrics.ignored.counts.total() == before
    peer.end()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_revoked_peer_ends_once_and_hands_nothing_over(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    end = AsyncMock(side_effect=OperationalError if fails else None)
    monkeypatch.setattr(detached, "run_in_background_thread", lambda function: end)
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    harness.layer.put(peer.subscription.name, relayed(1))
    peer.revoke(errors.excluded())
    peer.revoke(errors.excluded())
    await harness.take_over(peer, socket)
    async with asyncio.timeout(PATIENCE):
        while not peer.has_ended:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    end.assert_awaited_once_with("peer_me", epoch=1, reason="removed")
    assert all(not message.get("frames") for message in harness.received)


async def test_a_peer_that_was_taken_over_is_not_revoked_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The identity of its new socket counts."""
    monkeypatch.setattr(detached, "run_in_background_thread", None)
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    await harness.take_over(peer, socket)
    peer.revoke(errors.excluded())
    harness.layer.put(peer.subscription.name, relayed(1))
    assert [message["type"] for message in harness.received] == [
        "signalling.handover",
        "signalling.relay",
    ]
