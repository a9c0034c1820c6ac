"""Outages of the database."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms import services
from rooms.models import Participant, Room
from signalling.worker import process
from tests.signalling.consumers.helpers import (
    live_peer_ids,
    raise_database_unavailable,
    subscriber_count,
)
from tests.signalling.sockets import connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_join_during_a_database_outage_is_refused_and_the_socket_stays_open(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(bob) as socket:
        with monkeypatch.context() as patch:
            patch.setattr(services, "join", raise_database_unavailable)
            answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert (answer["data"]["code"], answer["data"]["retryAfter"]) == ("unavailable", 2)
        assert subscriber_count() == 0
        await socket.join()


async def test_a_leave_during_a_database_outage_is_announced_now_and_written_later(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (first,):
        async with connected(bob) as socket:
            await socket.join()
            await first.receive("peer:joined")
            with monkeypatch.context() as outage:
                outage.setattr(type(Participant.objects), "of_socket", raise_database_unavailable)
                await socket.disconnect(1006)
            assert (await first.receive("peer:left"))["reason"] == "disconnected"
            assert await live_peer_ids() == [first.peer_id, socket.peer_id]
            await process.get_worker().heartbeat()
            assert await live_peer_ids() == [first.peer_id]
        assert subscriber_count() == 1
