"""Sockets that lose their seats to another join, and sockets that find no seat."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from rooms.models import Participant, Room
from tests.signalling.sockets import connected, in_room, open_socket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def default_limit(settings: Settings) -> None:
    settings.SIGNALLING = {}


async def test_a_fourth_socket_of_a_user_gets_no_seat(room: Room, bob: User) -> None:
    async with in_room(bob, bob, bob), connected(bob) as fourth:
        refused = await fourth.request("join:room", {"roomCode": "ABC123"})
        assert refused["data"]["code"] == "too_many_devices"
        assert refused["data"]["limit"] == 3
        assert await fourth.request("ping") == {"event": "pong", "data": {}}


async def test_an_evicted_peer_is_closed_and_told_why(room: Room, alice: User, bob: User) -> None:
    await Room.objects.aupdate(p2p_limit=3)
    carol = await User.objects.acreate(username="carol")
    async with in_room(bob, carol, carol) as (first, second, third), connected(alice) as host:
        joined = await host.join()
        assert [peer["id"] for peer in joined["peers"]] == [first.peer_id, second.peer_id]
        for witness in (first, second):
            left = {"peerId": third.peer_id, "reason": "evicted"}
            assert await witness.receive("peer:left") == left
            assert (await witness.receive("peer:joined"))["peerId"] == host.peer_id
        assert "host" in (await third.receive_error("evicted"))["message"]
        assert await third.receive_close() == 4403
        await host.receive_nothing()


async def test_an_evicted_peer_that_is_away_cannot_resume(
    room: Room, alice: User, bob: User
) -> None:
    await Room.objects.aupdate(p2p_limit=1)
    async with connected(bob) as first, connected(alice) as host, connected(bob) as again:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
        await host.join()
        data = {"roomCode": "ABC123", "resumable": True, "resumeToken": token}
        assert (await again.request("join:room", data))["data"]["code"] == "evicted"


async def test_a_ghost_is_replaced_by_the_next_join_of_its_user(
    room: Room, alice: User, bob: User
) -> None:
    await Room.objects.aupdate(p2p_limit=2)
    async with in_room(alice) as (witness,), connected(bob) as second:
        first = await open_socket(bob)
        await first.join(resumable=True)
        await witness.receive("peer:joined")
        await first.disconnect(1006)
        await witness.receive("peer:away")
        joined = await second.join()
        assert [peer["id"] for peer in joined["peers"]] == [witness.peer_id]
        left = {"peerId": first.peer_id, "reason": "disconnected"}
        assert await witness.receive("peer:left") == left
        assert (await witness.receive("peer:joined"))["peerId"] == second.peer_id
        assert await Participant.objects.live().acount() == 2


async def test_a_socket_that_was_taken_for_a_ghost_may_join_again(
    room: Room, alice: User, bob: User
) -> None:
    await Room.objects.aupdate(p2p_limit=2)
    async with in_room(alice, bob) as (witness, first), connected(bob) as second:
        await Participant.objects.filter(peer_id=first.peer_id).aupdate(away_until=timezone.now())
        await second.join()
        assert (await witness.receive("peer:left"))["peerId"] == first.peer_id
        await first.receive_error("not_in_room")
        assert await first.receive_close() == 4503
