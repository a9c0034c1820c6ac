"""The LiveKit backend against a server that implements LiveKit's API and records the requests."""

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
    """Return the backend of another site that shares the LiveKit server."""
    return LiveKitSfu("elsewhere", {**options, **changes})


# --- Rooms ------------------------------------------------------------------------------------


async def test_a_room_is_created_once_with_its_limits(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    await backend.open_room(ROOM)
    await backend.open_room(ROOM)
    first, _ = server.requests_for("CreateRoom")
    assert (first.name, first.max_participants) == (NAME, 20)
    assert (first.empty_timeout, first.departure_timeout) == (300, 60)
    assert server.requests_for("UpdateRoomMetadata") == []
    assert await backend.rooms() == {ROOM}


async def test_a_room_that_a_client_created_is_adopted(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    server.connect(backend.token(ROOM, "peer_1"))
    assert await backend.rooms() == set()
    await backend.open_room(ROOM)
    assert await backend.rooms() == {ROOM}
    assert server.connected(NAME) == {"peer_1"}


async def test_a_later_version_replaces_the_room_and_an_earlier_one_does_not(
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


async def test_rooms_of_other_sites_are_ignored(
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


async def test_a_room_of_another_site_with_the_same_name_is_refused(
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


async def test_peers_are_the_connected_clients(backend: LiveKitSfu, server: LiveKitServer) -> None:
    assert await backend.peers(ROOM) == set()
    for peer_id in ("peer_1", "peer_2", "peer_3"):
        assert server.connect(backend.token(ROOM, peer_id))
    participants = server.participants[NAME]
    participants["peer_3"].state = api.ParticipantInfo.DISCONNECTED
    participants["recorder"] = api.ParticipantInfo(
        identity="recorder", kind=api.ParticipantInfo.EGRESS
    )
    assert await backend.peers(ROOM) == {"peer_1", "peer_2"}
    await backend.remove(ROOM, "peer_1", None)
    await backend.remove(ROOM, "peer_1", None)
    assert await backend.peers(ROOM) == {"peer_2"}


async def test_a_missing_room_has_no_peers(backend: LiveKitSfu, server: LiveKitServer) -> None:
    """With ``enable_psrpc_for_get_list_participants``, LiveKit returns an error for it."""
    server.failures["ListParticipants"] = 404, '{"code": "not_found", "msg": "no such room"}'
    assert await backend.peers(ROOM) == set()


# --- Failures ---------------------------------------------------------------------------------


async def test_a_probe_requests_an_empty_list_of_rooms(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    await backend.open_room(ROOM)
    assert await backend.is_healthy()
    (request,) = server.requests_for("ListRooms")
    assert len(request.names) == 1
    assert NAME not in request.names


@pytest.mark.parametrize("method", CALLS)
async def test_a_stopped_server_is_unavailable(
    backend: LiveKitSfu, server: LiveKitServer, method: str
) -> None:
    await server.stop()
    with pytest.raises(SfuUnavailable):
        await CALLS[method](backend)
    assert not await backend.is_healthy()


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (500, "internal"), (502, "")])
async def test_a_server_error_means_unavailable(
    backend: LiveKitSfu, server: LiveKitServer, method: str, status: int, code: str
) -> None:
    body = f'{{"code": "{code}", "msg": "…"}}' if code else "<h1>Bad gateway</h1>"
    server.failures[method] = status, body
    with pytest.raises(SfuUnavailable):
        await CALLS[method](backend)


@pytest.mark.parametrize("method", CALLS)
async def test_a_refused_request_does_not_mean_unavailable(
    backend: LiveKitSfu, server: LiveKitServer, method: str
) -> None:
    server.failures[method] = 429, '{"code": "resource_exhausted", "msg": "too many rooms"}'
    with pytest.raises(SfuRequestFailed, match=r"too many rooms \(resource_exhausted\)"):
        await CALLS[method](backend)


async def test_requests_to_an_unresponsive_server_time_out(
    backend: LiveKitSfu, server: LiveKitServer
) -> None:
    async def seconds(call: Awaitable[object]) -> float:
        started_at = monotonic()
        with pytest.raises(SfuUnavailable):
            await call
        return monotonic() - started_at

    with server.unresponsive():
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
        assert server.requests == []
    finally:
        await backend.close()


async def test_a_closed_backend_can_be_used_again(backend: LiveKitSfu) -> None:
    await backend.probe()
    await backend.close()
    await backend.close()
    await backend.probe()
