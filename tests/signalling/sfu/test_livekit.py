"""The LiveKit backend against what speaks LiveKit's API, checks its tokens, and writes all down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from livekit import api

from signalling.sfu.base import SfuRequestFailed, SfuRoom, SfuUnavailable
from signalling.sfu.livekit import LiveKitSfu
from tests.signalling.sfu.livekit_server import LiveKitServer

ROOM = SfuRoom("room_abc123", 3, 20)
LATER = replace(ROOM, version=5)
NAME = "room_abc123"

Call = Callable[[LiveKitSfu], Awaitable[object]]
CALLS: dict[str, Call] = {
    "CreateRoom": lambda backend: backend.open_room(ROOM),
    "ListRooms": lambda backend: backend.rooms(),
    "ListParticipants": lambda backend: backend.peers(ROOM),
    "RemoveParticipant": lambda backend: backend.remove(ROOM, "peer_1", None),
}


def other_site(options: dict[str, Any], **changes: Any) -> LiveKitSfu:
    """Return the backend of a site that shares the LiveKit: its marks are others."""
    return LiveKitSfu("elsewhere", {**options, **changes})


# --- Rooms ------------------------------------------------------------------------------------


async def test_a_room_is_opened_once_with_its_limits(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    await backend.open_room(ROOM)
    await backend.open_room(ROOM)
    first, _ = server.heard("CreateRoom")
    assert (first.name, first.max_participants) == (NAME, 20)
    assert (first.empty_timeout, first.departure_timeout) == (300, 60)
    assert server.heard("UpdateRoomMetadata") == []
    assert await backend.rooms() == {ROOM}


async def test_a_room_that_a_client_had_made_becomes_ours(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    server.connect(backend.token(ROOM, "peer_1"))
    assert await backend.rooms() == set()
    await backend.open_room(ROOM)
    assert await backend.rooms() == {ROOM}
    assert server.present(NAME) == {"peer_1"}


async def test_a_later_version_takes_the_room_over_and_an_earlier_one_leaves_it(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    for room in (ROOM, LATER, ROOM):
        await backend.open_room(room)
    assert await backend.rooms() == {LATER}
    await backend.close_room(ROOM)
    assert await backend.rooms() == {LATER}
    await backend.close_room(LATER)
    await backend.close_room(LATER)
    assert server.rooms == {}


async def test_what_is_others_is_not_ours(
    backend: LiveKitSfu, options: dict[str, Any], server: LiveKitServer
) -> None:
    other = other_site(options, ROOM_PREFIX="b.")
    server.rooms["meeting"] = api.Room(name="meeting", metadata='{"topic": "tea"}')
    server.rooms["words"] = api.Room(name="words", metadata="tea, and cake")
    try:
        await other.open_room(ROOM)
        assert await other.rooms() == {ROOM}
        assert await backend.rooms() == set()
        await backend.close_room(ROOM)
        assert server.rooms.keys() == {"b." + NAME, "meeting", "words"}
    finally:
        await other.close()


async def test_another_sites_room_of_the_same_name_is_refused(
    backend: LiveKitSfu, options: dict[str, Any], server: LiveKitServer
) -> None:
    other = other_site(options)
    try:
        await backend.open_room(ROOM)
        with pytest.raises(SfuRequestFailed, match="ROOM_PREFIX"):
            await other.open_room(LATER)
        assert await backend.rooms() == {ROOM}
    finally:
        await other.close()


# --- Peers ------------------------------------------------------------------------------------


async def test_peers_are_the_clients_that_are_there(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    assert await backend.peers(ROOM) == set()
    for peer_id in ("peer_1", "peer_2", "peer_3"):
        assert server.connect(backend.token(ROOM, peer_id))
    here = server.participants[NAME]
    here["peer_3"].state = api.ParticipantInfo.DISCONNECTED
    here["recorder"] = api.ParticipantInfo(identity="recorder", kind=api.ParticipantInfo.EGRESS)
    assert await backend.peers(ROOM) == {"peer_1", "peer_2"}
    await backend.remove(ROOM, "peer_1", None)
    await backend.remove(ROOM, "peer_1", None)
    assert await backend.peers(ROOM) == {"peer_2"}


async def test_a_room_that_is_not_there_has_no_peers(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    """With ``enable_psrpc_for_get_list_participants`` LiveKit says so instead of giving an empty list."""
    server.broken["ListParticipants"] = 404, '{"code": "not_found", "msg": "no such room"}'
    assert await backend.peers(ROOM) == set()


# --- Failures ---------------------------------------------------------------------------------


async def test_a_sign_of_life_is_a_list_of_nothing(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    await backend.open_room(ROOM)
    assert await backend.is_healthy()
    (asked,) = server.heard("ListRooms")
    assert len(asked.names) == 1
    assert NAME not in asked.names


@pytest.mark.parametrize("method", CALLS)
async def test_a_server_that_is_away_is_away(
    backend: LiveKitSfu, server: LiveKitServer, method: str
) -> None:
    await server.stop()
    with pytest.raises(SfuUnavailable):
        await CALLS[method](backend)
    assert not await backend.is_healthy()


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (500, "internal"), (502, "")])
async def test_a_server_that_cannot_answer_is_away(
    backend: LiveKitSfu, server: LiveKitServer, method: str, status: int, code: str
) -> None:
    said = f'{{"code": "{code}", "msg": "…"}}' if code else "<h1>Bad gateway</h1>"
    server.broken[method] = status, said
    with pytest.raises(SfuUnavailable):
        await CALLS[method](backend)


@pytest.mark.parametrize("method", CALLS)
async def test_a_server_that_refuses_is_not_away(
    backend: LiveKitSfu, server: LiveKitServer, method: str
) -> None:
    server.broken[method] = 429, '{"code": "resource_exhausted", "msg": "too many rooms"}'
    with pytest.raises(SfuRequestFailed, match=r"too many rooms \(resource_exhausted\)"):
        await CALLS[method](backend)


async def test_a_slow_server_is_away_in_time(backend: LiveKitSfu, server: LiveKitServer) -> None:
    async def seconds(call: Awaitable[object]) -> float:
        begun = monotonic()
        with pytest.raises(SfuUnavailable):
            await call
        return monotonic() - begun

    with server.hanging():
        probe, request = await asyncio.gather(
            seconds(backend.probe()), seconds(backend.open_room(ROOM))
        )
    assert probe < 2.5
    assert request < 3.5


async def test_a_wrong_secret_is_refused(options: dict[str, Any], server: LiveKitServer) -> None:
    backend = LiveKitSfu("default", options | {"API_SECRET": "x" * 40})
    try:
        for call in CALLS.values():
            with pytest.raises(SfuRequestFailed) as refused:
                await call(backend)
            assert refused.value.code == 401
        assert not await backend.is_healthy()
        assert server.asked == []
    finally:
        await backend.close()


async def test_it_can_be_asked_again_after_its_end(backend: LiveKitSfu) -> None:
    await backend.probe()
    await backend.close()
    await backend.close()
    await backend.probe()
