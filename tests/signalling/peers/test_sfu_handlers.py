"""The handlers of a room that is routed through an SFU, with a fake ``Peer``."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from msgspec import Raw

from rooms import switching
from signalling import protocol, sfu
from signalling.peers import handlers, messages
from tests.signalling.peers.test_handlers import BOB, FakePeer, in_room, refusal


def in_routed_room() -> tuple[FakePeer, AsyncMock]:
    peer, link = in_room(), AsyncMock()
    assert peer.membership is not None
    peer.membership.link = link
    return peer, link


@pytest.mark.parametrize(("mode", "alias"), [("sfu", "healthy"), ("p2p", "")])
async def test_a_host_chooses_the_mode_and_gets_a_healthy_sfu(
    mode: Any, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sfus = Mock(first_healthy=AsyncMock(return_value="healthy"))
    monkeypatch.setattr(sfu, "get_sfus", lambda: sfus)
    peer = in_room()
    peer.results[switching.set_mode] = None
    await handlers.choose_mode(peer, protocol.ChooseMode(mode=mode))
    assert peer.calls == [("set_mode", "ABC123", mode, {"user": BOB, "sfu": alias})]
    assert sfus.first_healthy.await_count == (mode == "sfu")


@pytest.mark.parametrize(
    ("state", "counts", "is_announced"),
    [("receiving", True, True), ("receiving", False, False), ("failed", True, False)],
)
async def test_only_a_peer_that_receives_through_the_sfu_is_announced(
    state: Any, counts: bool, is_announced: bool
) -> None:
    peer = in_room()
    peer.results[switching.record_sfu_state] = counts
    await handlers.sfu_state(peer, protocol.SfuState(version=3, state=state))
    written = ("record_sfu_state", "peer_me", {"epoch": 0, "version": 3, "state": state})
    updated = protocol.PeerUpdated(peer_id="peer_me", path="sfu")
    published = ("publish announcement to ABC123", messages.updated("ABC123", updated))
    assert peer.calls == ([written, published] if is_announced else [written])


@pytest.mark.parametrize("anew", [True, False])
async def test_a_restart_concerns_the_connections_of_the_peer(anew: bool) -> None:
    peer, link = in_routed_room()
    await handlers.sfu_restart(peer, protocol.SfuRestart(anew=anew))
    link.restart.assert_awaited_once_with(recreate=anew)
    refused = await refusal(handlers.sfu_restart(in_room(), protocol.SfuRestart(anew=anew)))
    assert refused.code == "peer_not_found"


@pytest.mark.parametrize("target", ["sfu:publish", "sfu:subscribe"])
async def test_the_reserved_ids_are_the_connections_of_the_peer(target: str) -> None:
    event = protocol.WebrtcIce(target_peer_id=target, candidate=Raw(b'"x"'))
    peer, link = in_routed_room()
    await handlers.relay(peer, event)
    link.receive.assert_awaited_once_with(event)
    assert (await refusal(handlers.relay(in_room(), event))).code == "peer_not_found"


async def test_another_id_is_no_connection() -> None:
    event = protocol.WebrtcIce(target_peer_id="peer_x", candidate=Raw(b'"x"'))
    peer, link = in_routed_room()
    assert (await refusal(handlers.relay(peer, event))).code == "peer_not_found"
    assert not link.receive.called
