"""One provocation for each close code. Returns the client whose socket is closed with it."""

from __future__ import annotations

from signalling.layers import RedisChannelLayer
from signalling.peers.messages import room_group
from signalling.protocol import CloseCode
from signalling.testing import SignallingCommunicator
from tests.integration import hooks
from tests.integration.provocations.stage import (
    Stage,
    alice_is_removed,
    bob_stops_reading,
    provokes_close,
)


@provokes_close(CloseCode.NORMAL)
async def a_client_that_closes(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.site.client())
    await alice.close()
    return alice


@provokes_close(CloseCode.PROTOCOL_VIOLATIONS)
async def a_client_that_cannot_write_json(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    for _ in range(5):
        await alice.send_raw("{")
        await alice.receive_error("bad_json")
    await alice.send_raw("{")
    await alice.receive_error("bad_json")
    return alice


@provokes_close(CloseCode.AUTHENTICATION)
async def a_client_that_does_not_authenticate(stage: Stage) -> SignallingCommunicator:
    stranger = await stage.has(stage.strict.anonymous_client())
    await stranger.receive_error("authentication_required")
    return stranger


@provokes_close(CloseCode.HEARTBEAT)
async def a_client_that_pings_once_and_never_again(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    await alice.request("ping")
    await alice.receive_error("unavailable")
    return alice


@provokes_close(CloseCode.RESUMED_ELSEWHERE)
async def a_socket_whose_peer_has_another_one(stage: Stage) -> SignallingCommunicator:
    room = stage.strict.room()
    alice, again = await stage.has(stage.strict.client()), await stage.has(stage.strict.client())
    await alice.join(room, resumable=True)
    await again.resume(room, alice.room["resumeToken"])
    await alice.receive_error("not_in_room")
    return alice


@provokes_close(CloseCode.ROOM_CLOSED)
async def a_room_that_is_closed(stage: Stage) -> SignallingCommunicator:
    room = stage.strict.room()
    alice = await stage.has(stage.strict.client())
    await alice.join(room)
    stage.strict.run_python(
        "from rooms.services import close_room; from rooms.models import Room; "
        f"close_room(Room.objects.get(code={room!r}))"
    )
    await alice.receive("room:closed")
    assert stage.strict.database.reasons(room) == ["room_closed"]
    return alice


@provokes_close(CloseCode.FLOOD)
async def a_client_that_floods(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    for _ in range(100):
        await alice.send("ping")
    await alice.wait_for("error", code="rate_limited")
    return alice


@provokes_close(CloseCode.INTERNAL)
async def a_bug_outside_a_request(stage: Stage) -> SignallingCommunicator:
    room = stage.strict.room()
    alice = await stage.has(stage.strict.client())
    await alice.join(room)
    layer = RedisChannelLayer(hosts=[stage.redis.url])
    stage.stack.push_async_callback(layer.close)
    stage.logs.expect("Internal error")
    await layer.group_send(room_group(room), hooks.broken_mode(room))
    assert (await alice.receive_error("internal"))["reference"]
    return alice


@provokes_close(CloseCode.TOO_SLOW)
async def a_client_that_has_stopped_reading(stage: Stage) -> SignallingCommunicator:
    bob = await bob_stops_reading(stage)
    await bob.wait_for("error")
    return bob


@provokes_close(CloseCode.UNAVAILABLE)
async def a_handshake_while_the_database_is_unavailable(stage: Stage) -> SignallingCommunicator:
    alice = stage.fragile.client()
    stage.stop_postgresql()
    stage.logs.expect("Database unavailable")
    await stage.has(alice)
    assert (await alice.receive_error("unavailable", within=10))["retryAfter"] > 0
    return alice


@provokes_close(CloseCode.REMOVED)
async def a_peer_that_was_removed(stage: Stage) -> SignallingCommunicator:
    return await alice_is_removed(stage)
