"""Authentication in the handshake and by an event."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from tests.conftest import access_token
from tests.signalling.consumers.conftest import Configure
from tests.signalling.sockets import AppSocket, connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_socket_can_authenticate_with_its_first_frame(room: Room, bob: User) -> None:
    socket = AppSocket()
    await socket.connect()
    answer = await socket.request("authenticate", {"token": access_token(bob)})
    assert answer["event"] == "authenticated"
    assert answer["data"]["userInfo"] == {"username": "bob"}
    assert answer["data"]["expiresAt"]
    await socket.join()
    await socket.disconnect()


@pytest.mark.parametrize("event", ["join:room", "leave:room", "ping", "peer:update"])
async def test_an_unauthenticated_socket_can_only_authenticate(room: Room, event: str) -> None:
    socket = AppSocket()
    await socket.connect()
    answer = await socket.request(event, {"roomCode": "ABC123"})
    assert answer["data"]["code"] == "authentication_required"
    assert await socket.receive_close() == 4401
    await socket.disconnect()


@pytest.mark.parametrize("kind", [str, str.encode])
@pytest.mark.parametrize("frame", ["{", "[" * 8192, '{"event":"ping","data":[]}'])
async def test_other_frames_are_not_read_before_authentication(frame: str, kind: Any) -> None:
    socket = AppSocket()
    await socket.connect()
    await socket.send_raw(kind(frame))
    await socket.receive_error("authentication_required")
    assert await socket.receive_close() == 4401
    await socket.disconnect()


@pytest.mark.parametrize("kind", [str, str.encode])
async def test_frames_before_authentication_have_a_limit_of_their_own(kind: Any, bob: User) -> None:
    socket = AppSocket()
    await socket.connect()
    frame = json.dumps({"id": 1, "event": "authenticate", "data": {"token": access_token(bob)}})
    await socket.send_raw(kind(frame + " " * (8193 - len(frame))))
    answer = await socket.receive_frame()
    assert (answer["data"]["code"], answer["id"]) == ("message_too_large", 1)
    assert await socket.receive_close() == 4400
    await socket.disconnect()


async def test_a_frame_of_8_kib_can_authenticate(bob: User) -> None:
    socket = AppSocket()
    await socket.connect()
    frame = json.dumps({"event": "authenticate", "data": {"token": access_token(bob)}})
    await socket.send_raw(frame + " " * (8192 - len(frame)))
    await socket.receive("authenticated")
    await socket.disconnect()


async def test_an_unauthenticated_socket_is_closed_after_the_timeout(
    bob: User, configure: Configure
) -> None:
    configure(AUTHENTICATION_TIMEOUT=0.05)
    socket = AppSocket()
    await socket.connect()
    await socket.receive_error("authentication_required")
    assert await socket.receive_close() == 4401
    await socket.disconnect()


async def test_a_socket_that_authenticates_in_time_stays_open(
    bob: User, configure: Configure
) -> None:
    configure(AUTHENTICATION_TIMEOUT=1.0)
    socket = AppSocket()
    await socket.connect()
    await socket.request("authenticate", {"token": access_token(bob)})
    await asyncio.sleep(1.2)
    await socket.receive_nothing()
    await socket.disconnect()


async def test_an_invalid_token_in_the_handshake_is_refused_after_the_accept() -> None:
    socket = AppSocket(headers={"authorization": "Bearer wrong"})
    await socket.connect()
    await socket.receive_error("token_invalid")
    assert await socket.receive_close() == 4401
    await socket.disconnect()


async def test_an_invalid_token_in_a_frame_closes_the_socket(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        answer = await second.request("authenticate", {"token": "wrong"})
        assert answer["data"]["code"] == "token_invalid"
        assert await second.receive_close() == 4401
        await second.disconnect(1006)
        assert (await first.receive("peer:left"))["peerId"] == second.peer_id


async def test_a_socket_can_renew_its_token_but_not_change_its_user(alice: User, bob: User) -> None:
    async with connected(bob) as socket:
        renewed = await socket.request("authenticate", {"token": access_token(bob)})
        assert renewed["event"] == "authenticated"
        answer = await socket.request("authenticate", {"token": access_token(alice)})
        assert answer["data"]["code"] == "token_subject_mismatch"
        again = await socket.request("authenticate", {"token": access_token(bob)})
        assert again["data"]["userInfo"] == {"username": "bob"}
