"""Leaving a room: by request, by closing the socket, and when the room is closed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User

from rooms import services
from rooms.models import Participant, Room
from tests.patience import PATIENCE
from tests.signalling.consumers.helpers import live_peer_ids, subscriber_count
from tests.signalling.sockets import connected, in_room, open_socket

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_leave_is_announced_once(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        assert await second.request("leave:room") == {"event": "ack", "data": {}}
        assert await first.receive("peer:left") == {"peerId": second.peer_id, "reason": "left"}
        await first.receive_nothing()
        assert subscriber_count() == 1
        answer = await second.request("leave:room")
        assert answer["data"]["code"] == "not_in_room"
        await first.receive_nothing()


async def test_after_a_leave_a_socket_can_join_again_as_another_peer(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        old = second.peer_id
        await second.request("leave:room")
        assert (await first.receive("peer:left"))["peerId"] == old
        await second.join()
        assert second.peer_id != old
        assert (await first.receive("peer:joined"))["peerId"] == second.peer_id


@pytest.mark.parametrize(
    ("close_code", "reason"), [(1000, "left"), (1001, "left"), (1006, "disconnected")]
)
async def test_a_disconnect_announces_one_leave(
    room: Room,
    alice: User,
    bob: User,
    leave_calls: list[tuple[str, str]],
    close_code: int,
    reason: str,
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        await second.join()
        await first.receive("peer:joined")
        await second.disconnect(close_code)
        assert await first.receive("peer:left") == {"peerId": second.peer_id, "reason": reason}
        await first.receive_nothing()
        assert leave_calls == [(second.peer_id, reason)]
        assert await live_peer_ids() == [first.peer_id]
        assert subscriber_count() == 1


async def test_a_disconnect_after_a_leave_does_not_leave_again(
    room: Room, bob: User, leave_calls: list[tuple[str, str]]
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        await socket.request("leave:room")
    assert leave_calls == [(socket.peer_id, "left")]


async def test_a_cancelled_application_frees_the_seat(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice) as (first,):
        second = await open_socket(bob)
        await second.join()
        await first.receive("peer:joined")
        await second.cancel()
        assert (await first.receive("peer:left"))["reason"] == "disconnected"
        assert await live_peer_ids() == [first.peer_id]


async def test_a_join_that_is_cancelled_before_its_commit_frees_the_seat(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, may_continue = threading.Event(), threading.Event()
    original = services.join

    def slow_join(**arguments: Any) -> services.Joined:
        started.set()
        assert may_continue.wait(PATIENCE)
        return original(**arguments)

    monkeypatch.setattr(services, "join", slow_join)
    socket = await open_socket(bob)
    await socket.send("join:room", {"roomCode": "ABC123"})
    assert await asyncio.to_thread(started.wait, 10)
    asyncio.get_running_loop().call_later(0.05, may_continue.set)
    await socket.cancel()
    assert await Participant.objects.acount() == 1  # the join has committed
    assert await live_peer_ids() == []
    assert subscriber_count() == 0


async def test_closing_a_room_closes_its_sockets(
    room: Room, alice: User, bob: User, leave_calls: list[tuple[str, str]]
) -> None:
    async with in_room(alice, bob) as sockets:
        await database_sync_to_async(services.close_room)(room)
        calls = len(leave_calls)
        for socket in sockets:
            assert await socket.receive("room:closed") == {"reason": "closed"}
            assert await socket.receive_close() == 4410
        assert subscriber_count() == 0
    assert len(leave_calls) == calls  # the memberships had ended before the sockets closed
