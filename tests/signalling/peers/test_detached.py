"""Peers without a socket, and the order of what comes by two ways; no server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from hypothesis import given
from hypothesis import strategies as st

from signalling.layers import ChannelGone, LocalChannelLayer
from signalling.peers.detached import DetachedPeer
from signalling.peers.membership import Membership
from signalling.peers.messages import Relayed, left
from signalling.peers.reorder import ReorderBuffer
from signalling.transport.subscription import ChannelSubscription


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


class Stage:
    """An away peer on a layer, and a socket that may take it over."""

    def __init__(self) -> None:
        self.layer = LocalChannelLayer()
        self.heard: list[dict[str, Any]] = []
        self.ended: list[DetachedPeer] = []

    async def away(self, **options: Any) -> DetachedPeer:
        subscription = ChannelSubscription(self.layer, self.heard.append)
        await subscription.open()
        settings = {"max_frames": 3, "max_bytes": 100, "lifetime": 60.0, **options}
        membership = Membership("ABC123", peer_id="peer_me", epoch=1)
        return DetachedPeer(subscription, membership, on_end=self.ended.append, **settings)

    async def socket(self) -> ChannelSubscription:
        subscription = ChannelSubscription(self.layer, self.heard.append)
        await subscription.open()
        return subscription

    async def takes_over(self, away: DetachedPeer, by: ChannelSubscription) -> None:
        takeover = {"type": "signalling.takeover", "peer_id": "peer_me", "reply_channel": by.name}
        await self.layer.send(away.subscription.name, takeover)


async def test_it_holds_up_to_its_bounds_and_refuses_the_rest() -> None:
    stage = Stage()
    away = await stage.away()
    stage.layer.put(away.subscription.name, relayed(1, "x" * 60))
    with pytest.raises(ChannelFull):
        stage.layer.put(away.subscription.name, relayed(2, "x" * 60))
    for number in (2, 3):
        stage.layer.put(away.subscription.name, relayed(number, "y"))
    with pytest.raises(ChannelFull):
        stage.layer.put(away.subscription.name, relayed(4, "z"))
    assert [number for _, number, _ in away.frames] == [1, 2, 3]


async def test_it_hands_over_once_and_forwards_from_then_on() -> None:
    stage = Stage()
    away, socket = await stage.away(), await stage.socket()
    stage.layer.put(away.subscription.name, relayed(1))
    await stage.takes_over(away, socket)
    stage.layer.put(away.subscription.name, relayed(2))
    handover, forwarded = stage.heard
    assert handover["frames"] == [("peer_other", 1, "frame")]
    assert (handover["received"], handover["gap"]) == ({"peer_other": 1}, False)
    assert forwarded == relayed(2)
    assert stage.ended == [away]
    away.end()


async def test_what_is_not_its_own_does_not_concern_it() -> None:
    stage = Stage()
    away = await stage.away()
    stage.layer.put(away.subscription.name, relayed(1, target="peer_former"))
    stage.layer.put(away.subscription.name, dict(left("ABC123", "peer_other", "left")))
    assert (away.frames, away.has_ended) == ([], False)
    away.end()


@pytest.mark.parametrize(
    "message",
    [
        left("ABC123", "peer_me", "disconnected"),
        {"type": "signalling.removed", "room": "ABC123", "peer_id": "peer_me"},
        {"type": "signalling.closed", "room": "ABC123", "reason": "closed"},
        {**left("ABC123", "peer_me", ""), "change": "back", "number": 2, "channel": "elsewhere"},
    ],
)
async def test_it_ends_with_the_membership(message: dict[str, Any]) -> None:
    stage = Stage()
    away = await stage.away()
    stage.layer.put(away.subscription.name, message)
    assert away.has_ended
    assert stage.ended == [away]
    assert away._closing is not None
    await away._closing
    with pytest.raises(ChannelGone):
        stage.layer.put(away.subscription.name, relayed(1))


async def test_it_ends_after_its_lifetime_in_any_case() -> None:
    stage = Stage()
    over = asyncio.Event()
    away = await stage.away(lifetime=0.01)
    away._on_end = lambda ended: over.set()
    async with asyncio.timeout(5):
        await over.wait()


async def test_who_leaves_takes_nothing_more_and_still_hands_over() -> None:
    stage = Stage()
    away, socket = await stage.away(), await stage.socket()
    stage.layer.put(away.subscription.name, relayed(1))
    away.stop_holding()
    with pytest.raises(ChannelFull):
        stage.layer.put(away.subscription.name, relayed(2))
    await stage.takes_over(away, socket)
    assert [frame for _, frame, _ in stage.heard[0]["frames"]] == [1]
    away.end()


@given(st.data(), st.integers(0, 5), st.integers(1, 12))
def test_two_ways_come_out_as_one(data: st.DataObject, known: int, count: int) -> None:
    """Whatever is forwarded and whatever comes directly, and however they mix: once each, in order."""
    numbers = list(range(known + 1, known + count + 1))
    split = data.draw(st.integers(0, count))
    ways = [numbers[:split], numbers[split:]]
    out: list[str] = []
    in_order = ReorderBuffer({"a": known}, out.append)
    while any(ways):
        way = data.draw(st.sampled_from([way for way in ways if way]))
        number = way.pop(0)
        in_order.add("a", number, str(number))
    assert out == [str(number) for number in numbers]
    assert in_order.flush() == []


def test_what_follows_a_loss_comes_out_at_the_end() -> None:
    out: list[str] = []
    in_order = ReorderBuffer({"a": 1}, out.append)
    for number in (4, 3):
        in_order.add("a", number, str(number))
    assert out == []
    assert in_order.flush() == [("a", 3, "3"), ("a", 4, "4")]
    in_order.add("a", 2, "a sender that counts anew")
    assert out == ["a sender that counts anew"]
