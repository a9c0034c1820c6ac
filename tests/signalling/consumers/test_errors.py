"""Unexpected exceptions and lost connections."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from signalling import protocol
from signalling.peers import handlers
from signalling.peers.resumption import Resumption
from tests.signalling.consumers.conftest import Configure, ErrorLog
from tests.signalling.consumers.helpers import OFFER, live_peer_ids, raise_bug, subscriber_count
from tests.signalling.sockets import connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_bug_in_a_handler_returns_internal_and_the_socket_stays_open(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch, error_log: ErrorLog
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        monkeypatch.setattr(
            handlers, "HANDLERS", handlers.HANDLERS | {protocol.LeaveRoom: raise_bug}
        )
        answer = await socket.request("leave:room")
        error = answer["data"]
        assert (error["code"], error["event"]) == ("internal", "leave:room")
        assert "bug" not in error["message"]
        assert any(error["reference"] in line for line in error_log())
        await socket.receive_nothing()
        assert await live_peer_ids() == [socket.peer_id]


async def test_a_bug_in_the_join_policy_leaves_no_seat_and_no_subscription(
    room: Room, bob: User, configure: Configure
) -> None:
    configure(CAN_JOIN="tests.rooms.hooks.explode")
    async with connected(bob) as socket:
        answer = await socket.request("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "internal"
        assert (await live_peer_ids(), subscriber_count()) == ([], 0)
        configure(CAN_JOIN="rooms.policies.can_join")
        await socket.join()


async def test_a_bug_while_handling_a_layer_message_closes_the_socket(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, error_log: ErrorLog
) -> None:
    async with in_room(alice, bob) as (first, second):
        monkeypatch.setattr(Resumption, "receive", raise_bug)
        await second.send("webrtc:offer", {"targetPeerId": first.peer_id, "offer": OFFER})
        frame = await first.receive_frame()
        assert frame["data"]["code"] == "internal"
        assert any(frame["data"]["reference"] in line for line in error_log())
        assert await first.receive_close() == 4500
        await first.disconnect(1006)
        assert (await second.receive("peer:left"))["peerId"] == first.peer_id


async def test_a_failed_send_to_a_lost_connection_logs_no_error(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch, error_log: ErrorLog
) -> None:
    async with connected(bob) as socket:
        await socket.join()

        async def broken_pipe(*arguments: object, **keywords: object) -> None:
            raise OSError

        monkeypatch.setattr("channels.consumer.AsyncConsumer.send", broken_pipe)
        await socket.send("ping")
    assert error_log() == []
    monkeypatch.undo()
    assert await live_peer_ids() == []
