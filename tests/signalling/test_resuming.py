"""Peers that lose their socket and come back as themselves; one process, the local layer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from rooms import resuming, services
from rooms.models import Participant, Room
from signalling.worker import process
from tests.conftest import access_token
from tests.signalling.sockets import Socket, connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


def ice(target: str, number: int) -> dict[str, Any]:
    return {"targetPeerId": target, "candidate": f"candidate:{number}"}


async def reopened(user: User) -> Socket:
    socket = Socket(headers={"authorization": f"Bearer {access_token(user)}"})
    await socket.open()
    return socket


async def resume(socket: Socket, token: str) -> Any:
    return await socket.ask(
        "join:room", {"roomCode": "ABC123", "resumable": True, "resumeToken": token}
    )


async def test_a_peer_that_lost_its_socket_comes_back_as_itself(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        joined = await second.join(resumable=True)
        assert (joined["resumed"], joined["resumeWindow"]) == (False, 30.0)
        await first.expect("peer:joined")
        await second.disconnect(1006)
        away = await first.expect("peer:away")
        assert away["peerId"] == second.peer_id
        for number in range(3):
            await first.send("webrtc:ice", ice(second.peer_id, number))
        await first.receive_nothing()
        again = await reopened(bob)
        answer = (await resume(again, joined["resumeToken"]))["data"]
        assert (answer["peerId"], answer["resumed"]) == (second.peer_id, True)
        assert [peer["id"] for peer in answer["peers"]] == [first.peer_id]
        assert answer["resumeToken"] != joined["resumeToken"]
        assert "gap" not in answer
        for number in range(3):
            assert (await again.expect("webrtc:ice"))["candidate"] == f"candidate:{number}"
        assert await first.expect("peer:back") == {"peerId": second.peer_id}
        await first.send("webrtc:ice", ice(second.peer_id, 3))
        assert (await again.expect("webrtc:ice"))["candidate"] == "candidate:3"
        await again.send("webrtc:ice", ice(first.peer_id, 4))
        assert (await first.expect("webrtc:ice"))["fromPeerId"] == second.peer_id
        await again.disconnect(1000)
        assert (await first.expect("peer:left"))["reason"] == "left"


async def test_the_old_socket_is_closed_and_can_do_nothing_more(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        joined = await second.join(resumable=True)
        await first.expect("peer:joined")
        again = await reopened(bob)
        answer = (await resume(again, joined["resumeToken"]))["data"]
        assert answer["peerId"] == second.peer_id
        assert await second.receive_error() == "not_in_room"
        assert await second.closed() == 4409
        assert await first.expect("peer:back") == {"peerId": second.peer_id}
        await second.send("webrtc:ice", ice(first.peer_id, 0))
        await second.disconnect(1006)
        await first.receive_nothing()
        await again.receive_nothing()
        await again.disconnect()


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_normal_close_is_final(room: Room, alice: User, bob: User, code: int) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        joined = await second.join(resumable=True)
        await first.expect("peer:joined")
        await second.disconnect(code)
        assert (await first.expect("peer:left"))["reason"] == "left"
        again = await reopened(bob)
        assert (await resume(again, joined["resumeToken"]))["data"]["code"] == "resume_expired"
        await again.disconnect()


async def test_a_token_is_used_once_but_for_a_reply_that_was_lost(room: Room, bob: User) -> None:
    async with connected(bob) as first:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
    second = await reopened(bob)
    await resume(second, token)
    await second.disconnect(1006)
    third = await reopened(bob)  # the reply with the new token had not arrived
    answer = (await resume(third, token))["data"]
    assert (answer["resumed"], answer["gap"]) == (True, True)
    await third.disconnect(1006)
    await Participant.objects.aupdate(
        resume_rotated_at=timezone.now() - timedelta(seconds=resuming.REPLY_SECONDS + 1)
    )
    fourth = await reopened(bob)
    assert (await resume(fourth, token))["data"]["code"] == "resume_invalid"
    assert (await resume(fourth, answer["resumeToken"]))["data"]["resumed"]
    await fourth.disconnect()


async def test_nobody_else_can_use_a_token_nor_a_peer_id(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(bob, resumable=True) as (first,), connected(alice) as other:
        for guess in (await stored_token(first), first.peer_id, "x"):
            assert (await resume(other, guess))["data"]["code"] == "resume_invalid"
        await first.receive_nothing()


async def stored_token(socket: Socket) -> str:
    """What the database knows of a token is no token."""
    participant = await Participant.objects.aget(peer_id=socket.peer_id)
    return participant.resume_hash


async def test_who_stays_away_too_long_has_left(
    room: Room, alice: User, bob: User, settings: Settings
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.expect("peer:joined")
        await second.disconnect(1006)
        await first.expect("peer:away")
        past = timezone.now() - timedelta(seconds=1)
        await Participant.objects.filter(peer_id=second.peer_id).aupdate(away_until=past)
        again = await reopened(bob)
        assert (await resume(again, token))["data"]["code"] == "resume_expired"
        await process.get_worker().heartbeat()
        left = {"peerId": second.peer_id, "reason": "disconnected"}
        assert await first.expect("peer:left") == left
        await process.get_worker().heartbeat()
        await first.receive_nothing()
        assert not process.get_worker().detached
        await again.disconnect()


async def test_who_was_removed_while_away_does_not_come_back(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.expect("peer:joined")
        await second.disconnect(1006)
        await first.expect("peer:away")
        participant = await Participant.objects.aget(peer_id=second.peer_id)
        await database_sync_to_async(services.remove_participant)(participant)
        assert (await first.expect("peer:left"))["reason"] == "removed"
        again = await reopened(bob)
        assert (await resume(again, token))["data"]["code"] == "removed"
        await again.disconnect()


async def test_a_user_who_was_deactivated_does_not_come_back(room: Room, bob: User) -> None:
    async with connected(bob) as first, connected(bob) as second:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
        await User.objects.filter(pk=bob.pk).aupdate(is_active=False)
        assert (await resume(second, token))["data"]["code"] == "user_inactive"


async def test_held_frames_are_bounded_and_their_senders_told(
    room: Room, alice: User, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "HELD_FRAMES": 2}
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.expect("peer:joined")
        await second.disconnect(1006)
        await first.expect("peer:away")
        for number in range(2):
            assert (await first.ask("webrtc:ice", ice(second.peer_id, number)))["event"] == "ack"
        for number in range(2):
            refused = await first.ask("webrtc:ice", ice(second.peer_id, number))
            assert refused["data"]["code"] == "peer_busy"
        again = await reopened(bob)
        answer = (await resume(again, token))["data"]
        assert "gap" not in answer
        for number in range(2):
            assert (await again.expect("webrtc:ice"))["candidate"] == f"candidate:{number}"
        await again.receive_nothing()
        await first.expect("peer:back")
        await again.disconnect()


async def test_a_seat_is_kept_while_its_peer_is_away(room: Room, alice: User, bob: User) -> None:
    await Room.objects.aupdate(p2p_limit=1)
    async with connected(bob) as first, connected(alice) as second:
        await first.join(resumable=True)
        await first.disconnect(1006)
        refused = await second.ask("join:room", {"roomCode": "ABC123"})
        assert refused["data"]["code"] == "room_full"


async def test_who_joins_meanwhile_sees_who_is_away(room: Room, alice: User, bob: User) -> None:
    async with connected(bob) as first, connected(alice) as second:
        await first.join(resumable=True)
        await first.disconnect(1006)
        (peer,) = (await second.join())["peers"]
        assert (peer["id"], peer["away"]) == (first.peer_id, True)


async def test_a_process_that_drains_sends_everybody_elsewhere(
    room: Room, alice: User, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "DRAIN_SECONDS": 0.2}
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        joined = await second.join(resumable=True)
        await first.expect("peer:joined")
        await process.get_worker().drain()
        assert await first.receive_error() == "unavailable"
        assert await first.closed() == 4503
        assert await second.next()
        assert await Participant.objects.live().acount() == 1
        left_behind = await Participant.objects.live().aget()
        assert (left_behind.peer_id, left_behind.worker_id) == (second.peer_id, None)
        assert (left_behind.is_away, left_behind.has_gap) == (True, False)
        assert left_behind.held is not None
        assert left_behind.held["frames"] == []
        assert joined["peerId"] == left_behind.peer_id
