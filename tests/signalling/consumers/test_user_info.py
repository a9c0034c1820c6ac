"""Data about users in the frames, and joins that fail because it cannot be encoded."""

from __future__ import annotations

import html
import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from rooms import user_info
from rooms.models import Room
from tests.conftest import access_token
from tests.rooms import hooks
from tests.signalling.consumers.conftest import Configure, ErrorLog
from tests.signalling.consumers.helpers import live_peer_ids, raise_bug
from tests.signalling.sockets import connected

pytestmark = pytest.mark.django_db(transaction=True)


async def test_user_info_is_the_same_in_every_frame(
    room: Room, alice: User, bob: User, configure: Configure
) -> None:
    configure(USER_INFO="tests.rooms.hooks.rich")
    async with connected(alice) as first, connected(bob) as second, connected(alice) as third:
        await first.join()
        own = (await second.join())["userInfo"]
        announced = (await first.receive("peer:joined"))["userInfo"]
        listed = (await third.join())["peers"][1]["userInfo"]
        renewed = await second.receive("peer:joined") and await second.request(
            "authenticate", {"token": access_token(bob)}
        )
        assert own == announced == listed == renewed["data"]["userInfo"] == hooks.PLAIN


async def test_a_join_that_cannot_be_encoded_leaves_no_ghost(
    room: Room, bob: User, configure: Configure, error_log: ErrorLog
) -> None:
    configure(USER_INFO="tests.rooms.hooks.faulty")
    async with connected(bob) as socket:
        for fault in ({"username": {1}}, None):
            hooks.fault[0] = fault
            answer = await socket.request("join:room", {"roomCode": "ABC123"})
            assert answer["data"]["code"] == "internal"
            assert await live_peer_ids() == []
        assert len(error_log()) == 2
        configure(USER_INFO="rooms.policies.user_info")
        await socket.join()


@pytest.mark.parametrize("resumable", [False, True])
async def test_a_join_that_fails_after_it_has_a_seat_gives_it_up(
    room: Room, bob: User, resumable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"roomCode": "ABC123", "resumable": resumable}
    async with connected(bob) as socket:
        with monkeypatch.context() as patch:
            patch.setattr("signalling.peers.joining.room_joined", raise_bug)
            answer = await socket.request("join:room", data)
        assert answer["data"]["code"] == "internal"
        assert await live_peer_ids() == []
        await socket.join(resumable=resumable)


def test_the_pages_show_the_name_that_others_see(bob: User, client: Client) -> None:
    bob.username = bob.email = "bob@example.org"
    bob.save()
    client.force_login(bob)
    for name in ("", "Bob <i>"):
        User.objects.update(first_name=name)
        shown = name or user_info.code_name(bob)
        page = client.get("/r/ABC123/").text
        assert "bob@" not in page
        found = re.findall(r'data-user-name="([^"]*)"|class="user">([^<]*)<', page)
        assert [html.unescape("".join(one)) for one in found] == [shown, shown]
