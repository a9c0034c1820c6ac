"""Updates of media state and display name."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from tests.signalling.sockets import connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


async def test_an_update_reaches_present_and_later_peers(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second), connected(bob) as third:
        update = {"media": {"audio": True, "video": False}, "displayName": "Bobby", "x": 1}
        assert (await second.request("peer:update", update))["event"] == "ack"
        assert await first.receive("peer:updated") == {
            "peerId": second.peer_id,
            "media": {"audio": True, "video": False},
            "displayName": "Bobby",
        }
        await second.receive_nothing()
        _, known = (await third.join())["peers"]
        assert known["media"] == {"audio": True, "video": False}
        assert known["userInfo"] == {"username": "bob", "displayName": "Bobby"}


async def test_an_update_contains_only_the_changed_fields(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.request("peer:update", {"media": {"screen": True}})
        updated = await first.receive("peer:updated")
        assert updated == {"peerId": second.peer_id, "media": {"screen": True}}
        await second.request("peer:update", {"displayName": ""})
        updated = await first.receive("peer:updated")
        assert updated == {"peerId": second.peer_id, "displayName": ""}
