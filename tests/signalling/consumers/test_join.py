"""Joining a room."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from rooms import failures, services
from rooms.models import Room
from rooms.names import keys
from signalling.conf import conf
from tests.signalling.consumers.conftest import Configure
from tests.signalling.consumers.helpers import live_peer_ids, subscriber_count
from tests.signalling.sockets import connected, in_room

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stopped_time")]


async def test_the_first_frame_after_a_join_is_room_joined(
    room: Room, alice: User, bob: User
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        joined = await first.join("abc123")
        assert joined == {
            "roomId": "room_abc123",
            "peerId": first.peer_id,
            "peers": [],
            "userInfo": {"username": "alice"},
            "nameKeys": keys({"username": "alice"}),
            "mode": "p2p",
            "iceServers": [],
            "iceExpiresAt": None,
            "role": "host",
            "limits": {"p2p": 10, "total": 50, "meshKbps": conf().mesh_kbps},
            "resumed": False,
        }
        joined = await second.join()
        assert joined["role"] == "member"
        assert joined["peers"] == [
            {
                "id": first.peer_id,
                "userInfo": {"username": "alice"},
                "nameKeys": keys({"username": "alice"}),
                "media": {},
                "away": False,
            }
        ]
        assert await first.receive("peer:joined") == {
            "peerId": second.peer_id,
            "userInfo": {"username": "bob"},
            "nameKeys": keys({"username": "bob"}),
            "media": {},
        }
        await second.receive_nothing()


async def test_a_join_without_an_id_is_answered(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.send("join:room", {"roomCode": "ABC123"})
        assert (await socket.receive("room:joined"))["roomId"] == "room_abc123"


async def test_the_server_sends_nothing_before_the_first_request(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.receive_nothing()


async def test_room_joined_contains_the_configured_ice_servers(
    room: Room, bob: User, configure: Configure
) -> None:
    configure(ICE_SERVERS=[{"urls": "stun:stun.example.org"}])
    async with connected(bob) as socket:
        assert (await socket.join())["iceServers"] == [{"urls": "stun:stun.example.org"}]


async def test_concurrent_joins_reveal_each_peer_once(room: Room, alice: User, bob: User) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connected(user)) for user in (alice, bob, alice, bob)
        ]
        joins = await asyncio.gather(*(socket.join() for socket in sockets))
        ids = {socket.peer_id for socket in sockets}
        for socket, joined in zip(sockets, joins, strict=True):
            known = [peer["id"] for peer in joined["peers"]]
            while len(known) < 3:
                known.append((await socket.receive("peer:joined"))["peerId"])
            assert set(known) == ids - {socket.peer_id}
        for socket in sockets:
            await socket.receive_nothing()


async def test_joining_a_full_room_returns_room_full_and_its_limit(
    room: Room, alice: User, bob: User
) -> None:
    await Room.objects.aupdate(p2p_limit=1)
    async with in_room(alice), connected(bob) as socket:
        answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert answer["event"] == "error"
        error = answer["data"]
        assert (error["code"], error["limit"], error["mode"]) == ("room_full", 1, "p2p")
        assert error["event"] == "join:room"
        assert subscriber_count() == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"code": "OTHER"}, "room_not_found"),
        ({"is_active": False}, "room_closed"),
        ({"is_locked": True}, "room_locked"),
    ],
)
async def test_a_refused_join_names_the_reason(
    room: Room, bob: User, change: dict[str, Any], code: str
) -> None:
    await Room.objects.aupdate(**change)
    async with connected(bob) as socket:
        answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == code
        assert answer["data"]["message"]
        assert subscriber_count() == 0
        assert await live_peer_ids() == []
        await Room.objects.aupdate(code="ABC123", is_active=True, is_locked=False)
        await socket.join()  # the refused join has left nothing behind


async def test_a_policy_can_forbid_a_join(room: Room, alice: User, configure: Configure) -> None:
    configure(CAN_JOIN="tests.rooms.hooks.only_bob")
    async with connected(alice) as socket:
        answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "forbidden"


@pytest.mark.parametrize("code", ["ABC124", "no way", "", "ü"])
async def test_an_unknown_room_code_is_not_found(room: Room, bob: User, code: str) -> None:
    async with connected(bob) as socket:
        await socket.send("join:room", {"roomCode": code})
        await socket.receive_error("room_not_found")


async def test_a_second_join_is_refused(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        answer = await second.request("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "already_joined"
        await first.receive_nothing()
        assert await live_peer_ids() == [first.peer_id, second.peer_id]


async def test_guessing_room_codes_is_rate_limited(
    room: Room, bob: User, configure: Configure
) -> None:
    configure(FAILURE_LIMIT=3)
    async with connected(bob) as socket:
        for code in ("GUESS1", "GUESS2", "GUESS3"):
            await socket.send("join:room", {"roomCode": code})
            await socket.receive_error("room_not_found")
        answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "rate_limited"
        assert answer["data"]["retryAfter"] == 1
        await socket.receive_nothing()


async def test_a_guesser_is_refused_and_an_honest_user_of_its_address_is_not(
    room: Room, alice: User, bob: User, configure: Configure
) -> None:
    configure(FAILURE_LIMIT=1, SHARED_FAILURE_LIMIT=1)
    carol = await User.objects.acreate(username="carol")
    async with connected(bob) as guesser, connected(carol) as honest:
        assert guesser.scope["client"] == honest.scope["client"]
        await guesser.send("join:room", {"roomCode": "GUESS1"})
        await guesser.receive_error("room_not_found")
        answers = [await guesser.request("join:room", {"roomCode": c}) for c in ("ABC123", "NONE")]
        assert [answer["data"]["code"] for answer in answers] == ["rate_limited"] * 2
        assert answers[0]["data"] == answers[1]["data"]
        await honest.join()
        assert subscriber_count() == 1


async def test_a_member_over_the_limit_can_join_again_and_resume(
    room: Room, bob: User, configure: Configure
) -> None:
    configure(FAILURE_LIMIT=1)
    async with connected(bob) as first, connected(bob) as second:
        joined = await first.join(resumable=True)
        await second.send("join:room", {"roomCode": "GUESS1"})
        await second.receive_error("room_not_found")
        resume = {"roomCode": "ABC123", "resumable": True, "resumeToken": joined["resumeToken"]}
        assert (await second.request("join:room", resume))["event"] == "room:joined"


async def test_a_stranger_cannot_tell_a_hidden_room_from_none(
    alice: User, bob: User, configure: Configure
) -> None:
    configure(CAN_JOIN="tests.rooms.hooks.only_bob")
    hidden = await sync_to_async(services.open_room)(host=bob)
    async with connected(alice) as socket:
        for options in ({}, {"resumable": True, "resumeToken": "guess"}):
            answers = [
                await socket.request("join:room", {"roomCode": code, **options})
                for code in (hidden.code, "K7PXM2QRTB")
            ]
            assert answers[0]["data"] == answers[1]["data"]
            assert answers[0]["data"]["code"] == "room_not_found"


async def test_failures_are_counted_outside_of_the_event_loop(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    run = failures.store.run

    def recorded(operation: Any) -> Any:
        threads.append(threading.get_ident())
        return run(operation)

    monkeypatch.setattr(failures.store, "run", recorded)
    async with connected(bob, address="1.2.3.4") as socket:
        await socket.send("join:room", {"roomCode": "GUESS1"})
        await socket.receive_error("room_not_found")
        await socket.join()
        counted = len(threads)
        await socket.send("authenticate", {"token": "guess"})
        await socket.receive_error("token_invalid")
    assert counted == 3  # two checks and a failure
    assert len(threads) == 5
    assert threading.get_ident() not in threads
