"""The core events (v1), with clients that know no other events.

The names of the tests follow the description of the gateway that introduced these events.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from signalling.testing import SignallingCommunicator
from tests.integration.fixtures import MakeSite
from tests.integration.servers import Site

OFFER = {"type": "offer", "sdp": "v=0\r\n..."}
ANSWER = {"type": "answer", "sdp": "v=0\r\n..."}
CANDIDATE = "candidate:1 1 UDP 2130706431 192.168.1.1 54321 typ host"


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    return make_site()


@pytest.fixture
def room(site: Site) -> str:
    return site.room()


async def send(
    client: SignallingCommunicator, event: str, data: dict[str, Any] | None = None
) -> None:
    """Send a frame as a client that knows only the core events: without an id."""
    frame: dict[str, Any] = {"event": event}
    if data is not None:
        frame["data"] = data
    await client.send_raw(json.dumps(frame))


async def join(client: SignallingCommunicator, code: str) -> dict[str, Any]:
    await send(client, "join:room", {"roomCode": code})
    joined = await client.receive("room:joined")
    client.peer_id = joined["peerId"]
    return joined


class TestJoinRoom:
    async def test_client_sends_join_room_with_room_code_and_server_sends_room_joined_with_peer_list(
        self, site: Site, room: str
    ) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            first = await join(alice, room)
            second = await join(bob, room)
        assert first["roomId"] == second["roomId"] == f"room_{room.lower()}"
        assert first["peers"] == []
        (peer,) = second["peers"]
        assert (peer["id"], peer["userInfo"]) == (first["peerId"], {"username": "alice"})
        assert first["peerId"] != second["peerId"]

    async def test_server_validates_room_exists(self, site: Site) -> None:
        async with site.client("alice") as alice:
            await send(alice, "join:room", {"roomCode": "NOSUCH"})
            await alice.receive_error("room_not_found")

    async def test_server_adds_socket_to_room(self, site: Site, room: str) -> None:
        async with site.client("alice") as alice:
            await join(alice, room)
            assert site.database.live_rows(room) == 1

    async def test_server_broadcasts_peer_joined_to_existing_peers(
        self, site: Site, room: str
    ) -> None:
        async with (
            site.client("alice") as alice,
            site.client("bob") as bob,
            site.client("carol") as carol,
        ):
            await join(alice, room)
            await join(bob, room)
            await alice.receive("peer:joined")
            await join(carol, room)
            for existing in (alice, bob):
                joined = await existing.receive("peer:joined")
                assert joined["peerId"] == carol.peer_id
                assert joined["userInfo"] == {"username": "carol"}
            await carol.receive_nothing()


class TestLeaveRoom:
    async def test_client_sends_leave_room_and_server_broadcasts_peer_left_to_remaining_peers(
        self, site: Site, room: str
    ) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            await join(alice, room)
            await join(bob, room)
            await alice.receive("peer:joined")
            await send(bob, "leave:room")
            assert (await alice.receive("peer:left"))["peerId"] == bob.peer_id
            await bob.receive_nothing()
            await alice.receive_nothing()

    @pytest.mark.parametrize("ending", ["close", "reset"])
    async def test_client_disconnects_and_server_broadcasts_peer_left_to_remaining_peers(
        self, site: Site, room: str, ending: str
    ) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            await join(alice, room)
            await join(bob, room)
            await alice.receive("peer:joined")
            await getattr(bob, ending)()
            assert (await alice.receive("peer:left"))["peerId"] == bob.peer_id
            await alice.receive_nothing()

    async def test_server_removes_socket_from_room(self, site: Site, room: str) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            await join(alice, room)
            await send(alice, "leave:room")
            await alice.receive_nothing()
            assert site.database.live_rows(room) == 0
            assert (await join(bob, room))["peers"] == []
            await alice.receive_nothing()


class TestSignalling:
    """The server forwards to the target peer only."""

    @pytest.mark.parametrize(
        ("event", "payload"),
        [
            pytest.param("webrtc:offer", {"offer": OFFER}, id="webrtc_offer"),
            pytest.param("webrtc:answer", {"answer": ANSWER}, id="webrtc_answer"),
            pytest.param("webrtc:ice", {"candidate": CANDIDATE}, id="ice_candidate"),
        ],
    )
    async def test_server_forwards_to_target_peer(
        self, site: Site, room: str, event: str, payload: dict[str, Any]
    ) -> None:
        async with (
            site.client("alice") as alice,
            site.client("bob") as bob,
            site.client("carol") as carol,
        ):
            for client in (alice, bob, carol):
                await join(client, room)
            await send(carol, event, {"targetPeerId": alice.peer_id, **payload})
            await alice.receive("peer:joined")
            await alice.receive("peer:joined")
            assert await alice.receive(event) == {
                "targetPeerId": alice.peer_id,
                "fromPeerId": carol.peer_id,
                **payload,
            }
            await bob.receive("peer:joined")
            for client in (alice, bob, carol):
                await client.receive_nothing()

    async def test_server_forwards_a_complete_negotiation(self, site: Site, room: str) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            await join(alice, room)
            (peer,) = (await join(bob, room))["peers"]
            await send(bob, "webrtc:offer", {"targetPeerId": peer["id"], "offer": OFFER})
            assert (await alice.receive("peer:joined"))["peerId"] == bob.peer_id
            caller = (await alice.receive("webrtc:offer"))["fromPeerId"]
            await send(alice, "webrtc:answer", {"targetPeerId": caller, "answer": ANSWER})
            assert (await bob.receive("webrtc:answer"))["answer"] == ANSWER
            await send(alice, "webrtc:ice", {"targetPeerId": caller, "candidate": CANDIDATE})
            assert (await bob.receive("webrtc:ice"))["candidate"] == CANDIDATE


class TestEdgeCases:
    async def test_room_not_found_sends_error_response_to_client(
        self, site: Site, room: str
    ) -> None:
        async with site.client("alice") as alice:
            await send(alice, "join:room", {"roomCode": "NOSUCH"})
            error = await alice.receive_error("room_not_found")
            assert error["event"] == "join:room"
            assert "check the code or create the room" in error["message"]
            await join(alice, room)  # with the right code

    async def test_target_peer_not_found_sends_error_response_to_client(
        self, site: Site, room: str
    ) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            await join(alice, room)
            await join(bob, room)
            await alice.receive("peer:joined")
            await bob.close()
            await alice.receive("peer:left")
            await send(alice, "webrtc:offer", {"targetPeerId": bob.peer_id, "offer": OFFER})
            assert (await alice.receive_error("peer_not_found"))["event"] == "webrtc:offer"
            await alice.receive_nothing()

    async def test_authentication_required_allows_only_authenticated_users_to_join(
        self, site: Site, room: str
    ) -> None:
        async with site.anonymous_client() as anonymous:
            await send(anonymous, "join:room", {"roomCode": room})
            await anonymous.receive_error("authentication_required")
            assert await anonymous.receive_close() == 4401
        assert site.database.live_rows(room) == 0

    async def test_authentication_required_verifies_jwt_and_associates_socket_with_user(
        self, site: Site, room: str
    ) -> None:
        async with site.client("alice") as alice, site.client("bob") as bob:
            await join(alice, room)
            assert (await join(bob, room))["peers"][0]["userInfo"]["username"] == "alice"
        async with site.client("mallory", token=site.token("mallory") + "x") as mallory:
            await mallory.receive_error("token_invalid")
            assert await mallory.receive_close() == 4401

    async def test_max_room_size_limits_rooms_to_10_participants_for_p2p(
        self, site: Site, room: str
    ) -> None:
        clients = [site.client(f"peer{number}") for number in range(11)]
        for client in clients:
            await client.connect()
        for client in clients[:10]:
            assert (await join(client, room))["mode"] == "p2p"
        await send(clients[10], "join:room", {"roomCode": room})
        error = await clients[10].receive_error("room_full")
        assert (error["limit"], error["mode"]) == (10, "p2p")
        await clients[0].close()
        await clients[1].wait_for("peer:left")
        await join(clients[10], room)
        for client in clients:
            await client.close()
