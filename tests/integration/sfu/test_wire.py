"""The events of rooms with an SFU, without media."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from signalling.testing import RequestRefused, SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.processes import eventually
from tests.integration.servers import Site
from tests.integration.sfu.conftest import UNUSED_ROOM_SECONDS
from tests.integration.sfu.janus import Janus

OFFER = {"type": "offer", "sdp": "v=0\r\n"}
SWITCH_SECONDS = 6


@pytest.fixture(scope="module")
def site(make_site: MakeSite, janus: Janus) -> Site:
    return make_site(signalling={"SFU": janus.settings, "SWITCH_SECONDS": SWITCH_SECONDS})


@pytest.fixture(scope="module", autouse=True)
def _no_rooms_left(site: Site, janus: Janus) -> Iterator[None]:
    """Check once that no test has left a room in Janus: the site takes seconds to destroy one."""
    yield
    eventually(lambda: not janus.rooms(), "a room is left in Janus", within=UNUSED_ROOM_SECONDS)


@pytest.fixture
def room(site: Site) -> str:
    """A room whose mesh holds two peers and that holds five in total."""
    return site.room(p2p_limit=2, total_limit=5, host=site.user("host"))


class Clients(AsyncExitStack):
    """The clients in one room. They disconnect when the context ends."""

    def __init__(self, site: Site, room: str) -> None:
        super().__init__()
        self.site = site
        self.room = room

    async def join(self, *names: str) -> list[SignallingCommunicator]:
        clients = [await self.enter_async_context(self.site.client(name)) for name in names]
        for client in clients:
            await client.join(self.room)
        return clients


async def state(client: SignallingCommunicator, version: int, state: str = "receiving") -> None:
    await client.request("sfu:state", {"version": version, "state": state})


async def is_refused(
    client: SignallingCommunicator, event: str, data: dict[str, Any]
) -> dict[str, Any]:
    with pytest.raises(RequestRefused) as refused:
        await client.request(event, data)
    details: dict[str, Any] = refused.value.details
    return details


async def test_the_third_peer_switches_the_room_and_all_reports_commit_the_switch(
    site: Site, room: str
) -> None:
    async with Clients(site, room) as clients:
        alice, bob = await clients.join("alice", "bob")
        assert alice.room["mode"] == "p2p"
        assert alice.room["limits"] == {
            "p2p": 2,
            "total": 5,
            "meshKbps": [1700, 800, 800, 400, 400, 250, 250, 150, 150],
        }
        await alice.receive("peer:joined")
        (carol,) = await clients.join("carol")
        received = {key: carol.room[key] for key in ("mode", "modeVersion", "switching", "sfu")}
        assert received == {
            "mode": "sfu",
            "modeVersion": 1,
            "switching": True,
            "sfu": {"provider": "proxied"},
        }
        for client in (alice, bob):
            mode = await client.wait_for("room:mode")
            assert mode.pop("until") > "2026"
            assert 0 < mode.pop("seconds") <= SWITCH_SECONDS
            assert mode == {
                "mode": "sfu",
                "version": 1,
                "switching": True,
                "reason": "room_grew",
                "sfu": {"provider": "proxied"},
            }
        await state(alice, 1)
        await bob.wait_for("peer:updated", peerId=alice.peer_id, path="sfu")
        await state(bob, 1)
        await state(carol, 1)
        for client in (alice, bob, carol):
            assert await client.wait_for("room:mode", reason="committed") == {
                "mode": "sfu",
                "version": 1,
                "reason": "committed",
                "sfu": {"provider": "proxied"},
            }
        (dave,) = await clients.join("dave")
        assert {peer["path"] for peer in dave.room["peers"]} == {"sfu"}
        assert "switching" not in dave.room
        await clients.join("erin")
        frank = await clients.enter_async_context(site.client("frank"))
        full = await is_refused(frank, "join:room", {"roomCode": room})
        assert (full["code"], full["limit"], full["mode"]) == ("room_full", 5, "sfu")


async def test_a_failure_rolls_back_the_switch_and_removes_the_last_peer(
    site: Site, room: str
) -> None:
    async with Clients(site, room) as clients:
        alice, bob, carol = await clients.join("alice", "bob", "carol")
        await state(alice, 1, "failed")
        for client in (alice, bob):
            mode = await client.wait_for("room:mode", within=10, mode="p2p")
            assert mode == {"mode": "p2p", "version": 2, "reason": "sfu_unreachable"}
            await client.wait_for("peer:left", peerId=carol.peer_id)
        out = await carol.wait_for("error", code="sfu_unavailable")
        assert out["retryAfter"] == 60
        assert (await is_refused(carol, "leave:room", {}))["code"] == "not_in_room"
        full = await is_refused(carol, "join:room", {"roomCode": room})
        assert (full["code"], full["limit"], full["mode"]) == ("room_full", 2, "p2p")


async def test_reports_of_other_versions_are_ignored(site: Site, room: str) -> None:
    async with Clients(site, room) as clients:
        alice, bob, carol = await clients.join("alice", "bob", "carol")
        for client in (alice, bob, carol):
            await state(client, 7)
            await state(client, 0, "failed")
        alice.clear()
        await alice.receive_nothing()


async def test_in_a_mesh_the_reserved_ids_do_not_exist(site: Site, room: str) -> None:
    async with Clients(site, room) as clients:
        (alice,) = await clients.join("alice")
        for peer_id in ("sfu:publish", "sfu:subscribe", "sfu:else"):
            refusal = await is_refused(
                alice, "webrtc:offer", {"targetPeerId": peer_id, "offer": OFFER}
            )
            assert refusal["code"] == "peer_not_found"
        assert (await is_refused(alice, "sfu:restart", {}))["code"] == "peer_not_found"
        await state(alice, 0)


@pytest.fixture
def routed(site: Site) -> str:
    """A room that always uses the SFU."""
    return site.room(topology="sfu", host=site.user("host"))


async def test_a_room_can_start_with_the_sfu(site: Site, routed: str) -> None:
    async with Clients(site, routed) as clients:
        (alice,) = await clients.join("alice")
        assert (alice.room["mode"], alice.room.get("switching")) == ("sfu", None)
        await alice.receive_nothing()


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("webrtc:offer", {"targetPeerId": "sfu:publish", "offer": OFFER}),
        (
            "webrtc:offer",
            {
                "targetPeerId": "sfu:publish",
                "offer": {"type": "offer", "sdp": "v=0\r\n" + 5 * "m=audio 9 UDP 0\r\n"},
            },
        ),
        ("webrtc:offer", {"targetPeerId": "sfu:publish", "offer": {"type": "offer", "sdp": ""}}),
        ("webrtc:offer", {"targetPeerId": "sfu:publish", "offer": {"type": "offer", "sdp": "🦆"}}),
    ],
)
async def test_an_invalid_offer_is_answered_with_an_error(
    site: Site, routed: str, event: str, data: dict[str, Any]
) -> None:
    async with Clients(site, routed) as clients:
        (alice,) = await clients.join("alice")
        refusal = await is_refused(alice, event, data)
        assert (refusal["code"], refusal["path"]) == ("bad_request", "$.data.offer.sdp")
        await alice.receive_nothing()


async def test_events_for_the_wrong_direction_are_refused_or_ignored(
    site: Site, routed: str
) -> None:
    async with Clients(site, routed) as clients:
        (alice,) = await clients.join("alice")
        answer = {"type": "answer", "sdp": "v=0\r\n"}
        for event, data in (
            ("webrtc:offer", {"targetPeerId": "sfu:subscribe", "offer": OFFER}),
            ("webrtc:answer", {"targetPeerId": "sfu:publish", "answer": answer}),
        ):
            assert (await is_refused(alice, event, data))["code"] == "peer_not_found"
        # An answer without an offer, and candidates for connections that do not exist yet.
        await alice.request("webrtc:answer", {"targetPeerId": "sfu:subscribe", "answer": answer})
        for peer_id in ("sfu:publish", "sfu:subscribe"):
            for candidate in (None, "", "candidate:1", {"candidate": "x", "extra": [1]}, {}):
                ice: dict[str, Any] = {"targetPeerId": peer_id, "candidate": candidate}
                await alice.request("webrtc:ice", ice)
        await alice.receive_nothing()


async def test_a_client_can_restart_or_recreate_its_connections(site: Site, routed: str) -> None:
    async with Clients(site, routed) as clients:
        (alice,) = await clients.join("alice")
        await alice.request("sfu:restart")
        await alice.receive_nothing()
        await alice.request("sfu:restart", {"anew": True})
        assert await alice.wait_for("sfu:reset") == {"sfu": {"provider": "proxied"}}


async def test_only_the_host_can_change_the_mode(site: Site, room: str) -> None:
    async with Clients(site, room) as clients:
        alice, host = await clients.join("alice", "host")
        assert (await is_refused(alice, "room:mode", {"mode": "sfu"}))["code"] == "forbidden"
        await host.request("room:mode", {"mode": "sfu"})
        for client in (alice, host):
            assert (await client.wait_for("room:mode"))["reason"] == "host"
        await host.request("room:mode", {"mode": "p2p"})
        for client in (alice, host):
            mode = await client.wait_for("room:mode", mode="p2p")
            assert mode == {"mode": "p2p", "version": 2, "reason": "host"}
        assert (await is_refused(host, "room:mode", {"mode": "mesh"}))["code"] == "bad_request"
