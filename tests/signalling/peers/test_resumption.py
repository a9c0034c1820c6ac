"""Peers that lose their socket and resume, in one process with the local layer."""

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
from signalling.peers.detached import DetachedPeer
from signalling.peers.messages import Takeover
from signalling.worker import process
from tests.signalling.sockets import AppSocket, connected, in_room, open_socket

pytestmark = pytest.mark.django_db(transaction=True)


def ice(target: str, number: int) -> dict[str, Any]:
    return {"targetPeerId": target, "candidate": f"candidate:{number}"}


async def resume(socket: AppSocket, token: str) -> Any:
    """Try to resume with a token; return the answer."""
    return await socket.request(
        "join:room", {"roomCode": "ABC123", "resumable": True, "resumeToken": token}
    )


async def test_a_resumed_peer_keeps_its_id_and_gets_its_held_frames(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        joined = await second.join(resumable=True)
        assert (joined["resumed"], joined["resumeWindow"]) == (False, 30.0)
        await first.receive("peer:joined")
        await second.disconnect(1006)
        away = await first.receive("peer:away")
        assert away["peerId"] == second.peer_id
        assert 20 < away["seconds"] <= 30
        for number in range(3):
            await first.send("webrtc:ice", ice(second.peer_id, number))
        await first.receive_nothing()
        again = await open_socket(bob)
        answer = (await resume(again, joined["resumeToken"]))["data"]
        assert (answer["peerId"], answer["resumed"]) == (second.peer_id, True)
        assert [peer["id"] for peer in answer["peers"]] == [first.peer_id]
        assert answer["resumeToken"] != joined["resumeToken"]
        assert "gap" not in answer
        for number in range(3):
            assert (await again.receive("webrtc:ice"))["candidate"] == f"candidate:{number}"
        assert await first.receive("peer:back") == {"peerId": second.peer_id}
        await first.send("webrtc:ice", ice(second.peer_id, 3))
        assert (await again.receive("webrtc:ice"))["candidate"] == "candidate:3"
        await again.send("webrtc:ice", ice(first.peer_id, 4))
        assert (await first.receive("webrtc:ice"))["fromPeerId"] == second.peer_id
        await again.disconnect(1000)
        assert (await first.receive("peer:left"))["reason"] == "left"


async def test_a_resume_closes_the_previous_socket(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        joined = await second.join(resumable=True)
        await first.receive("peer:joined")
        again = await open_socket(bob)
        answer = (await resume(again, joined["resumeToken"]))["data"]
        assert answer["peerId"] == second.peer_id
        await second.receive_error("not_in_room")
        assert await second.receive_close() == 4409
        assert await first.receive("peer:back") == {"peerId": second.peer_id}
        await second.send("webrtc:ice", ice(first.peer_id, 0))
        await second.disconnect(1006)
        await first.receive_nothing()
        await again.receive_nothing()
        await again.disconnect()


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_normal_close_is_final(room: Room, alice: User, bob: User, code: int) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        joined = await second.join(resumable=True)
        await first.receive("peer:joined")
        await second.disconnect(code)
        assert (await first.receive("peer:left"))["reason"] == "left"
        again = await open_socket(bob)
        assert (await resume(again, joined["resumeToken"]))["data"]["code"] == "resume_expired"
        await again.disconnect()


async def test_a_token_works_once_unless_the_reply_was_lost(room: Room, bob: User) -> None:
    async with connected(bob) as first:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
    second = await open_socket(bob)
    await resume(second, token)
    await second.disconnect(1006)
    third = await open_socket(bob)  # as if the reply with the new token had been lost
    answer = (await resume(third, token))["data"]
    assert (answer["resumed"], answer["gap"]) == (True, True)
    await third.disconnect(1006)
    await Participant.objects.aupdate(
        resume_rotated_at=timezone.now() - timedelta(seconds=resuming.REPLY_SECONDS + 1)
    )
    fourth = await open_socket(bob)
    assert (await resume(fourth, token))["data"]["code"] == "resume_invalid"
    assert (await resume(fourth, answer["resumeToken"]))["data"]["resumed"]
    await fourth.disconnect()


async def test_a_stored_hash_or_a_peer_id_is_not_a_token(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(bob, resumable=True) as (first,), connected(alice) as other:
        for guess in (await stored_hash(first), first.peer_id, "x"):
            assert (await resume(other, guess))["data"]["code"] == "resume_invalid"
        await first.receive_nothing()


async def stored_hash(socket: AppSocket) -> str:
    """Return what the database stores for the peer's token: its hash."""
    participant = await Participant.objects.aget(peer_id=socket.peer_id)
    return participant.resume_hash


async def test_a_peer_that_stays_away_longer_than_the_window_leaves(
    room: Room, alice: User, bob: User, settings: Settings
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.receive("peer:joined")
        await second.disconnect(1006)
        await first.receive("peer:away")
        past = timezone.now() - timedelta(seconds=1)
        await Participant.objects.filter(peer_id=second.peer_id).aupdate(away_until=past)
        again = await open_socket(bob)
        assert (await resume(again, token))["data"]["code"] == "resume_expired"
        await process.get_worker().heartbeat()
        left = {"peerId": second.peer_id, "reason": "disconnected"}
        assert await first.receive("peer:left") == left
        await process.get_worker().heartbeat()
        await first.receive_nothing()
        assert not process.get_worker().detached
        await again.disconnect()


async def test_a_peer_that_was_removed_while_away_cannot_resume(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.receive("peer:joined")
        await second.disconnect(1006)
        await first.receive("peer:away")
        participant = await Participant.objects.aget(peer_id=second.peer_id)
        await database_sync_to_async(services.remove_participant)(participant)
        assert (await first.receive("peer:left"))["reason"] == "removed"
        again = await open_socket(bob)
        assert (await resume(again, token))["data"]["code"] == "removed"
        await again.disconnect()


async def test_a_deactivated_user_cannot_resume(room: Room, bob: User) -> None:
    async with connected(bob) as first, connected(bob) as second:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
        await User.objects.filter(pk=bob.pk).aupdate(is_active=False)
        assert (await resume(second, token))["data"]["code"] == "user_inactive"


async def test_held_frames_are_limited_and_further_senders_get_peer_busy(
    room: Room, alice: User, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "HELD_FRAMES": 4}  # half of them for one sender
    async with in_room(alice) as (first,), connected(bob) as second:
        token = (await second.join(resumable=True))["resumeToken"]
        await first.receive("peer:joined")
        await second.disconnect(1006)
        await first.receive("peer:away")
        for number in range(2):
            assert (await first.request("webrtc:ice", ice(second.peer_id, number)))[
                "event"
            ] == "ack"
        for number in range(2):
            refused = await first.request("webrtc:ice", ice(second.peer_id, number))
            assert refused["data"]["code"] == "peer_busy"
        again = await open_socket(bob)
        answer = (await resume(again, token))["data"]
        assert "gap" not in answer
        for number in range(2):
            assert (await again.receive("webrtc:ice"))["candidate"] == f"candidate:{number}"
        await again.receive_nothing()
        await first.receive("peer:back")
        await again.disconnect()


async def test_a_peer_that_is_away_keeps_its_seat(room: Room, alice: User, bob: User) -> None:
    await Room.objects.aupdate(p2p_limit=1)
    async with connected(alice) as first, connected(bob) as second:
        await first.join(resumable=True)
        await first.disconnect(1006)
        refused = await second.request("join:room", {"roomCode": "ABC123"})
        assert refused["data"]["code"] == "room_full"


async def test_a_later_peer_sees_which_peers_are_away(room: Room, alice: User, bob: User) -> None:
    async with connected(bob) as first, connected(alice) as second:
        await first.join(resumable=True)
        await first.disconnect(1006)
        (peer,) = (await second.join())["peers"]
        assert (peer["id"], peer["away"]) == (first.peer_id, True)


async def test_a_drain_closes_all_sockets_and_stores_the_resumable_peers(
    room: Room, alice: User, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {**settings.SIGNALLING, "DRAIN_SECONDS": 0.2}
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        joined = await second.join(resumable=True)
        await first.receive("peer:joined")
        await process.get_worker().drain()
        await first.receive_error("unavailable")
        assert await first.receive_close() == 4503
        assert await second.receive_frame()
        assert await Participant.objects.live().acount() == 1
        stored = await Participant.objects.live().aget()
        assert (stored.peer_id, stored.worker_id) == (second.peer_id, None)
        assert (stored.is_away, stored.has_gap) == (True, False)
        assert stored.held is not None
        assert stored.held["frames"] == []
        assert joined["peerId"] == stored.peer_id


async def test_a_peer_that_an_earlier_build_left_behind_resumes(room: Room, bob: User) -> None:
    """Until November 2026 the relay counters were stored under other names."""
    first = await open_socket(bob)
    joined = await first.join(resumable=True)
    await first.disconnect(1006)
    left_behind = {"frames": [], "sent": {}, "heard": {"peer_x": 3}, "gap": False}
    participants = Participant.objects.filter(peer_id=first.peer_id)
    await participants.aupdate(held=left_behind, worker_id=None)
    again = await open_socket(bob)
    answer = (await resume(again, joined["resumeToken"]))["data"]
    assert (answer["peerId"], answer["resumed"]) == (first.peer_id, True)
    await again.disconnect()


async def test_a_handover_that_this_build_cannot_read_is_a_gap(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hand_over(peer: DetachedPeer, message: Takeover) -> None:
        peer.subscription.send(message["reply_channel"], {"type": "signalling.handover"})

    monkeypatch.setattr(DetachedPeer, "_hand_over", hand_over)
    async with connected(bob) as socket:
        joined = await socket.join(resumable=True)
        await socket.disconnect(1006)
        async with connected(bob) as again:
            answer = (await resume(again, joined["resumeToken"]))["data"]
            assert (answer["resumed"], answer["gap"]) == (True, True)
