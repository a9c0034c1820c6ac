"""Updates of media state and display name."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from rooms.names import keys
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
            "nameKeys": keys({"username": "bob", "displayName": "Bobby"}),
        }
        await second.receive_nothing()
        _, known = (await third.join())["peers"]
        assert known["media"] == {"audio": True, "video": False}
        assert known["userInfo"] == {"username": "bob", "displayName": "Bobby"}
        assert known["nameKeys"] == keys({"username": "bob", "displayName": "Bobby"})


async def test_an_update_contains_only_the_changed_fields(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.request("peer:update", {"media": {"screen": True}})
        updated = await first.receive("peer:updated")
        assert updated == {"peerId": second.peer_id, "media": {"screen": True}}
        await second.request("peer:update", {"displayName": ""})
        updated = await first.receive("peer:updated")
        assert updated == {
            "peerId": second.peer_id,
            "displayName": "",
            "nameKeys": keys({"username": "bob"}),
        }


async def test_a_display_name_is_sent_in_its_stored_form(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.request("peer:update", {"displayName": " Jose\u0301\u3000 "})
        assert (await first.receive("peer:updated"))["displayName"] == "Jos\u00e9"


async def test_a_refused_display_name_changes_nothing(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second), connected(bob) as third:
        update = {"media": {"audio": True}, "displayName": "al\u200bice"}
        refused = await second.request("peer:update", update)
        assert (refused["data"]["code"], refused["data"]["path"]) == (
            "bad_request",
            "$.data.displayName",
        )
        await first.receive_nothing()
        _, known = (await third.join())["peers"]
        assert (known["userInfo"], known["media"]) == ({"username": "bob"}, {})


async def test_peers_whose_names_look_alike_share_a_key(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.request("peer:update", {"displayName": "\u0430lice"})  # Cyrillic
        updated = await first.receive("peer:updated")
        assert set(updated["nameKeys"]) & set(keys({"username": "alice"}))
