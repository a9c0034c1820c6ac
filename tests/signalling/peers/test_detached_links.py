"""``DetachedPeer``: the SFU connections of its peer, gaps, and a layer that fails."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, Mock, call

import pytest
from channels.exceptions import ChannelFull

from signalling.peers import detached
from signalling.peers.detached import DetachedPeer
from signalling.peers.messages import left
from signalling.protocol import errors
from signalling.sfu.mode import Mode
from tests.signalling.peers.test_detached import Harness, relayed

LEFT = left("ABC123", "peer_me", "left")
REMOVED = {"type": "signalling.removed", "room": "ABC123", "peer_id": "peer_me"}
CLOSED = {"type": "signalling.closed", "room": "ABC123", "reason": "closed"}
BACK = {**LEFT, "change": "back", "number": 2, "channel": "elsewhere"}


def mode_changed(**fields: Any) -> dict[str, Any]:
    return {
        "type": "signalling.mode",
        "room": "ABC123",
        "mode": "sfu",
        "version": 2,
        "is_switching": False,
        "sfu": "a",
        "total": 50,
        "until": "",
        "reason": "host",
        "surplus": [],
        **fields,
    }


async def detach_with_link(harness: Harness) -> tuple[DetachedPeer, Mock]:
    peer = await harness.detach()
    link = Mock()
    peer.membership.link = link
    return peer, link


@pytest.mark.parametrize("message", [LEFT, REMOVED, CLOSED])
async def test_the_connections_of_a_peer_that_has_left_are_closed(message: dict[str, Any]) -> None:
    peer, link = await detach_with_link(Harness())
    peer.deliver(message)
    assert link.mock_calls == [call.close()]


async def test_the_connections_of_a_peer_that_has_resumed_elsewhere_are_released() -> None:
    peer, link = await detach_with_link(Harness())
    peer.deliver(BACK)
    assert link.mock_calls == [call.release()]


async def test_the_connections_are_released_at_the_end_of_the_lifetime() -> None:
    peer, link = await detach_with_link(Harness())
    peer.end()
    peer.end(has_left=True)  # too late: it has ended
    assert link.mock_calls == [call.release()]


async def test_the_connections_of_a_peer_that_was_taken_over_belong_to_its_socket() -> None:
    harness = Harness()
    (peer, link), socket = await detach_with_link(harness), await harness.subscribe()
    await harness.take_over(peer, socket)
    peer.deliver(mode_changed())
    peer.deliver(LEFT)
    assert link.mock_calls == [call.release(), call.release()]


async def test_a_revoked_peer_closes_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "run_in_background_thread", lambda function: AsyncMock())
    peer, link = await detach_with_link(Harness())
    peer.revoke(errors.excluded())
    assert peer._revoking is not None
    await peer._revoking
    assert link.mock_calls == [call.close()]


@pytest.mark.parametrize(
    ("fields", "is_followed"),
    [({}, True), ({"room": "OTHER"}, False), ({"version": 1}, False)],
    ids=["later mode", "another room", "known mode"],
)
async def test_the_connections_follow_the_mode_of_the_room(
    fields: dict[str, Any], is_followed: bool
) -> None:
    peer, link = await detach_with_link(Harness())
    known = peer.membership.mode = Mode("sfu", 1, False, "a", 50)
    peer.deliver(mode_changed(**fields))
    later = Mode("sfu", 2, False, "a", 50)
    assert peer.membership.mode == (later if is_followed else known)
    assert link.mock_calls == ([call.follow(later)] if is_followed else [])
    peer.end()


async def test_a_peer_without_connections_follows_the_mode_too() -> None:
    peer = await Harness().detach()
    peer.deliver(mode_changed())
    assert peer.membership.mode.version == 2
    peer.end()


@pytest.mark.parametrize("kind", ["channel.lost", "channel.refused"])
async def test_a_relay_of_the_peer_that_was_not_delivered_is_a_gap(kind: str) -> None:
    peer = await Harness().detach()
    assert not peer.state()["gap"]
    peer.deliver({"type": kind, "channel": "elsewhere", "target": "peer_other"})
    assert peer.state()["gap"]
    peer.end()


async def test_a_take_over_by_a_channel_that_is_full_loses_no_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    peer, socket = await harness.detach(), await harness.subscribe()
    peer.deliver(relayed(1))
    monkeypatch.setattr(peer.subscription, "send", Mock(side_effect=ChannelFull))
    await harness.take_over(peer, socket)
    assert (len(peer.frames), peer.moved_to, peer.has_ended) == (1, None, False)
    peer.end()


async def test_the_channel_is_closed_although_it_cannot_leave_its_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = Harness()
    peer = await harness.detach()
    monkeypatch.setattr(harness.layer, "group_discard", AsyncMock(side_effect=ConnectionError))
    close = AsyncMock()
    monkeypatch.setattr(peer.subscription, "close", close)
    peer.end()
    assert peer._closing is not None
    await peer._closing
    close.assert_awaited_once_with()
