"""Every error code and every close code, provoked on a real server; see PROTOCOL.md for their list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from rest_framework_simplejwt.tokens import AccessToken

from signalling.layers import RedisChannelLayer
from signalling.peers.messages import room_group
from signalling.protocol import CloseCode, ErrorCode
from signalling.testing import RequestRefused, SignallingCommunicator, access_token
from tests.integration import hooks
from tests.integration.fixtures import Logs, MakeSite
from tests.integration.servers import Site
from tests.integration.stores import PostgreSQL, Redis

OFFER = {"type": "offer", "sdp": "v=0\r\n"}


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Site:
    """A site with policies of its own."""
    return make_site(
        signalling={"CAN_JOIN": "tests.integration.hooks.can_join", "BYTE_BURST": 100_000_000}
    )


@pytest.fixture(scope="module")
def strict(make_site: MakeSite) -> Site:
    """A site with little patience, on Redis."""
    return make_site(
        redis=True,
        signalling={
            "AUTHENTICATION_TIMEOUT": 1,
            "HEARTBEAT_TIMEOUT": 1,
            "VIOLATIONS": 5,
            "FRAME_BURST": 30,
            "FRAME_RATE": 10,
            "FLOOD_FRAMES": 20,
            "OFFER_RATE": 1,
            "FAILURE_LIMIT": 3,
        },
    )


@pytest.fixture(scope="module")
def fragile(make_site: MakeSite) -> Site:
    """A site whose database can be stopped."""
    return make_site(engine="postgresql")


@dataclass
class Stage:
    """What a provocation needs: sites, and clients that are closed after it."""

    site: Site
    strict: Site
    fragile: Site
    postgresql: PostgreSQL
    redis: Redis
    logs: Logs
    stack: AsyncExitStack

    async def has(self, client: SignallingCommunicator) -> SignallingCommunicator:
        return await self.stack.enter_async_context(client)

    async def has_pair(self, site: Site) -> tuple[SignallingCommunicator, SignallingCommunicator]:
        """Alice and Bob, who share a room and have nothing unread."""
        room = site.room()
        alice, bob = await self.has(site.client("alice")), await self.has(site.client("bob"))
        await alice.join(room)
        await bob.join(room)
        await alice.receive("peer:joined")
        return alice, bob

    async def has_alice(
        self, event: str, data: dict[str, Any] | None = None
    ) -> SignallingCommunicator:
        """Alice, who sent this and has not looked at the answer."""
        alice = await self.has(self.site.client("alice"))
        await alice.send(event, data)
        return alice

    def stops_postgresql(self) -> None:
        self.logs.expect("Database unavailable")
        self.stack.callback(self.postgresql.start)
        self.postgresql.stop()


@pytest.fixture
async def stage(
    site: Site,
    strict: Site,
    fragile: Site,
    postgresql: PostgreSQL,
    redis: Redis,
    logs: Logs,
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(site, strict, fragile, postgresql, redis, logs, stack)


Provocation = Callable[[Stage], Awaitable[SignallingCommunicator]]
ERRORS: dict[ErrorCode, Provocation] = {}
CLOSES: dict[CloseCode, Provocation] = {}

COST_THE_SOCKET = {
    ErrorCode.AUTHENTICATION_REQUIRED,
    ErrorCode.TOKEN_INVALID,
    ErrorCode.TOKEN_EXPIRED,
    ErrorCode.TOKEN_REVOKED,
    ErrorCode.USER_INACTIVE,
}


def gives(code: ErrorCode) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        ERRORS[code] = provocation
        return provocation

    return register


def closes_with(code: CloseCode) -> Callable[[Provocation], Provocation]:
    def register(provocation: Provocation) -> Provocation:
        CLOSES[code] = provocation
        return provocation

    return register


# --- Error codes: each provocation returns the client whose next frame is the error ----------------


@gives(ErrorCode.BAD_JSON)
async def a_frame_that_is_no_json(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.site.client())
    await alice.send_raw('{"event":')
    return alice


@gives(ErrorCode.BAD_REQUEST)
async def a_number_for_a_room_code(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("join:room", {"roomCode": 5})


@gives(ErrorCode.UNKNOWN_EVENT)
async def an_event_that_does_not_exist(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("join:everything")


@gives(ErrorCode.MESSAGE_TOO_LARGE)
async def an_sdp_of_more_than_48_kib(stage: Stage) -> SignallingCommunicator:
    offer = {"type": "offer", "sdp": "x" * (48 * 1024 + 1)}
    return await stage.has_alice("webrtc:offer", {"targetPeerId": "x", "offer": offer})


@gives(ErrorCode.AUTHENTICATION_REQUIRED)
async def a_ping_of_a_stranger(stage: Stage) -> SignallingCommunicator:
    stranger = await stage.has(stage.site.anonymous_client())
    await stranger.send("ping")
    return stranger


@gives(ErrorCode.TOKEN_INVALID)
async def a_forged_token(stage: Stage) -> SignallingCommunicator:
    return await stage.has(stage.site.client(token=stage.site.token("alice")[:-2] + "xx"))


@gives(ErrorCode.TOKEN_EXPIRED)
async def a_token_of_yesterday(stage: Stage) -> SignallingCommunicator:
    token = AccessToken.for_user(stage.site.user("alice"))
    token.set_exp(lifetime=-timedelta(days=1))
    return await stage.has(stage.site.client(token=str(token)))


@gives(ErrorCode.TOKEN_REVOKED)
async def a_token_from_before_the_new_password(stage: Stage) -> SignallingCommunicator:
    user = stage.site.database.user()
    token = access_token(user)
    user.set_password("another")
    stage.site.database.save(user)
    return await stage.has(stage.site.client(token=token))


@gives(ErrorCode.USER_INACTIVE)
async def a_token_of_an_inactive_user(stage: Stage) -> SignallingCommunicator:
    user = stage.site.database.user(is_active=False)
    return await stage.has(stage.site.client(token=access_token(user)))


@gives(ErrorCode.TOKEN_SUBJECT_MISMATCH)
async def another_users_token(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("authenticate", {"token": stage.site.token("bob")})


@gives(ErrorCode.ROOM_NOT_FOUND)
async def a_wrong_code(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("join:room", {"roomCode": "NOSUCH"})


@gives(ErrorCode.ROOM_FULL)
async def a_full_room(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room(p2p_limit=1)
    await (await stage.has(stage.site.client("bob"))).join(room)
    return await stage.has_alice("join:room", {"roomCode": room})


@gives(ErrorCode.ROOM_LOCKED)
async def a_locked_room(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("join:room", {"roomCode": stage.site.room(is_locked=True)})


@gives(ErrorCode.ROOM_CLOSED)
async def a_closed_room(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("join:room", {"roomCode": stage.site.room(is_active=False)})


@gives(ErrorCode.ALREADY_JOINED)
async def a_second_join(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room()
    alice = await stage.has(stage.site.client())
    await alice.join(room)
    await alice.send("join:room", {"roomCode": room})
    return alice


@gives(ErrorCode.NOT_IN_ROOM)
async def a_leave_without_a_join(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("leave:room")


@gives(ErrorCode.PEER_NOT_FOUND)
async def an_offer_to_nobody(stage: Stage) -> SignallingCommunicator:
    alice, _ = await stage.has_pair(stage.site)
    await alice.send("webrtc:offer", {"targetPeerId": "peer_nobody", "offer": OFFER})
    return alice


async def bob_stops_reading(stage: Stage) -> SignallingCommunicator:
    """Bob takes nothing any more, alice sends him all that the buffers hold, and is not disturbed."""
    alice, bob = await stage.has_pair(stage.site)
    await bob.pause_reading()
    answer = {"targetPeerId": bob.peer_id, "answer": {"type": "answer", "sdp": "v" * 40_000}}
    while not any(frame["event"] == "peer:left" for frame in alice.unread):
        await alice.send("webrtc:answer", answer)
    await alice.request("ping")
    bob.resume_reading()
    return bob


@gives(ErrorCode.PEER_BUSY)
async def a_peer_that_does_not_keep_up(stage: Stage) -> SignallingCommunicator:
    bob = await bob_stops_reading(stage)
    assert await bob.receive_close(within=10) == CloseCode.TOO_SLOW
    while bob.unread[0]["event"] == "webrtc:answer":
        await bob.receive("webrtc:answer")
    return bob


async def alice_is_removed(stage: Stage) -> SignallingCommunicator:
    """Alice is removed from outside; Bob, who stays, is told."""
    alice, bob = await stage.has_pair(stage.strict)
    stage.strict.run_python(
        "from rooms import models, services; "
        f"services.remove_participant(models.Participant.objects.get(peer_id={alice.peer_id!r}))",
    )
    assert await bob.receive("peer:left") == {"peerId": alice.peer_id, "reason": "removed"}
    return alice


@gives(ErrorCode.REMOVED)
async def a_peer_that_is_removed(stage: Stage) -> SignallingCommunicator:
    return await alice_is_removed(stage)


@closes_with(CloseCode.REMOVED)
async def a_peer_that_was_removed(stage: Stage) -> SignallingCommunicator:
    return await alice_is_removed(stage)


@gives(ErrorCode.RESUME_INVALID)
async def a_resume_with_a_token_of_nobody(stage: Stage) -> SignallingCommunicator:
    data = {"roomCode": stage.site.room(), "resumable": True, "resumeToken": "x"}
    return await stage.has_alice("join:room", data)


@gives(ErrorCode.RESUME_EXPIRED)
async def a_resume_of_who_has_left(stage: Stage) -> SignallingCommunicator:
    alice, room = await stage.has(stage.site.client("alice")), stage.site.room()
    token = (await alice.join(room, resumable=True))["resumeToken"]
    await alice.leave()
    return await stage.has_alice(
        "join:room", {"roomCode": room, "resumable": True, "resumeToken": token}
    )


@gives(ErrorCode.FORBIDDEN)
async def a_policy_that_says_no(stage: Stage) -> SignallingCommunicator:
    return await stage.has_alice("join:room", {"roomCode": stage.site.room(name=hooks.FORBIDDEN)})


@gives(ErrorCode.RATE_LIMITED)
async def a_second_offer_within_a_second(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    for _ in range(2):
        await alice.send("webrtc:offer", {"targetPeerId": "x", "offer": OFFER})
    await alice.receive_error("not_in_room")
    return alice


@gives(ErrorCode.SFU_UNAVAILABLE)
async def an_sfu_that_the_site_does_not_have(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room(host=stage.site.user("alice"))
    alice = await stage.has(stage.site.client("alice"))
    await alice.join(room)
    await alice.send("room:mode", {"mode": "sfu"})
    return alice


@gives(ErrorCode.UNAVAILABLE)
async def a_join_while_the_database_is_away(stage: Stage) -> SignallingCommunicator:
    room = stage.fragile.room()
    alice = await stage.has(stage.fragile.client())
    stage.stops_postgresql()
    await alice.send("join:room", {"roomCode": room})
    return alice


@gives(ErrorCode.INTERNAL)
async def a_policy_that_is_broken(stage: Stage) -> SignallingCommunicator:
    stage.logs.expect("this hook is broken on purpose")
    return await stage.has_alice("join:room", {"roomCode": stage.site.room(name=hooks.BROKEN)})


@pytest.mark.parametrize("code", ERRORS)
async def test_error_code(code: ErrorCode, stage: Stage) -> None:
    client = await ERRORS[code](stage)
    error = await client.receive_error(code, within=10)
    assert error["message"]
    if code in COST_THE_SOCKET:
        assert await client.receive_close() == CloseCode.AUTHENTICATION
    elif code not in (ErrorCode.PEER_BUSY, ErrorCode.REMOVED):  # these have been closed
        while client.unread:
            await client.receive_error(code)
        await client.receive_nothing()


def test_every_error_code_is_provoked() -> None:
    assert set(ERRORS) == set(ErrorCode)


# --- What an error carries -------------------------------------------------------------------------


async def test_an_error_names_its_request_by_id_and_event(site: Site) -> None:
    async with site.client() as alice:
        for request_id in (1, "one", 1.5):
            frame = {"event": "join:room", "data": {"roomCode": "NOSUCH"}, "id": request_id}
            await alice.send_raw(json.dumps(frame))
            error = await alice.receive_error("room_not_found")
            assert error["event"] == "join:room"
            assert json.loads(alice.last_frame)["id"] == request_id


async def test_a_refused_frame_is_answered_with_its_id_and_the_failing_path(site: Site) -> None:
    async with site.client() as alice:
        with pytest.raises(RequestRefused) as refused:
            await alice.request("join:room", {"roomCode": []})
        assert refused.value.details["path"] == "$.data.roomCode"
        assert refused.value.details["event"] == "join:room"
        with pytest.raises(RequestRefused, match="unknown_event"):
            await alice.request("join:everything")


async def test_internal_errors_have_a_reference_that_is_in_the_log(site: Site, logs: Logs) -> None:
    async with site.client() as alice:
        with pytest.raises(RequestRefused) as refused:
            await alice.join(site.room(name=hooks.BROKEN))
    assert refused.value.code == "internal"
    assert "broken on purpose" not in json.dumps(refused.value.details)
    logs.expect(refused.value.details["reference"])


# --- Close codes -----------------------------------------------------------------------------------


@closes_with(CloseCode.NORMAL)
async def a_client_that_closes(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.site.client())
    await alice.close()
    return alice


@closes_with(CloseCode.PROTOCOL_VIOLATIONS)
async def a_client_that_cannot_write_json(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    for _ in range(5):
        await alice.send_raw("{")
        await alice.receive_error("bad_json")
    await alice.send_raw("{")
    await alice.receive_error("bad_json")
    return alice


@closes_with(CloseCode.AUTHENTICATION)
async def a_stranger_who_says_nothing(stage: Stage) -> SignallingCommunicator:
    stranger = await stage.has(stage.strict.anonymous_client())
    await stranger.receive_error("authentication_required")
    return stranger


@closes_with(CloseCode.HEARTBEAT)
async def a_client_that_pings_once_and_never_again(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    await alice.request("ping")
    await alice.receive_error("unavailable")
    return alice


@closes_with(CloseCode.RESUMED_ELSEWHERE)
async def a_socket_whose_peer_has_another_one(stage: Stage) -> SignallingCommunicator:
    room = stage.strict.room()
    alice, again = await stage.has(stage.strict.client()), await stage.has(stage.strict.client())
    await alice.join(room, resumable=True)
    await again.resume(room, alice.room["resumeToken"])
    await alice.receive_error("not_in_room")
    return alice


@closes_with(CloseCode.ROOM_CLOSED)
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


@closes_with(CloseCode.FLOOD)
async def a_client_that_floods(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    for _ in range(100):
        await alice.send("ping")
    await alice.wait_for("error", code="rate_limited")
    return alice


@closes_with(CloseCode.INTERNAL)
async def a_message_that_no_version_of_ours_writes(stage: Stage) -> SignallingCommunicator:
    room = stage.strict.room()
    alice = await stage.has(stage.strict.client())
    await alice.join(room)
    layer = RedisChannelLayer(hosts=[stage.redis.url])
    stage.stack.push_async_callback(layer.close)
    stage.logs.expect("Internal error")
    await layer.group_send(room_group(room), {"type": "signalling.roster"})
    assert (await alice.receive_error("internal"))["reference"]
    return alice


@closes_with(CloseCode.TOO_SLOW)
async def a_client_that_has_stopped_reading(stage: Stage) -> SignallingCommunicator:
    bob = await bob_stops_reading(stage)
    await bob.wait_for("error")
    return bob


@closes_with(CloseCode.UNAVAILABLE)
async def a_handshake_while_the_database_is_away(stage: Stage) -> SignallingCommunicator:
    alice = stage.fragile.client()
    stage.stops_postgresql()
    stage.logs.expect("Database unavailable")
    await stage.has(alice)
    assert (await alice.receive_error("unavailable", within=10))["retryAfter"] > 0
    return alice


@pytest.mark.parametrize("code", CLOSES)
async def test_close_code(code: CloseCode, stage: Stage) -> None:
    client = await CLOSES[code](stage)
    assert await client.receive_close() == code


def test_every_close_code_is_provoked() -> None:
    assert set(CLOSES) == set(CloseCode)


async def test_a_frame_of_more_than_64_kib_costs_the_socket(
    site: Site, make_site: MakeSite
) -> None:
    async with site.client() as alice:
        await alice.send_raw(json.dumps({"event": "ping", "data": {"x": "x" * 65_536}}))
        assert (
            await alice.receive_close() == 1009
        )  # the server's own limit, before the frame is read
    async with make_site(server="stock-uvicorn").client() as bob:
        await bob.send_raw(json.dumps({"event": "ping", "data": {"x": "x" * 65_536}}))
        await bob.receive_error("message_too_large")
        assert await bob.receive_close() == CloseCode.PROTOCOL_VIOLATIONS


async def test_who_guesses_codes_is_slowed_down(strict: Site) -> None:
    room = strict.room()
    async with strict.client("guesser", address="127.0.0.2") as guesser:
        for number in range(3):
            with pytest.raises(RequestRefused, match="room_not_found"):
                await guesser.join(f"GUESS{number}")
        with pytest.raises(RequestRefused) as refused:
            await guesser.join(room)
        assert refused.value.code == "rate_limited"
        assert refused.value.details["retryAfter"] >= 1
        await guesser.receive_nothing()
    async with strict.client("alice") as alice:  # from another address
        await alice.join(room)


async def test_who_guesses_tokens_is_slowed_down(strict: Site) -> None:
    for _ in range(3):
        async with strict.client(token="guess", address="127.0.0.3") as guesser:
            await guesser.receive_error("token_invalid")
    async with strict.client(token="guess", address="127.0.0.3") as guesser:
        assert (await guesser.receive_error("rate_limited"))["retryAfter"] >= 1
        assert await guesser.receive_close() == CloseCode.FLOOD
    async with strict.client("alice", address="127.0.0.3") as alice:
        await alice.request("ping")  # a good token is no guess, wherever it comes from


# --- Bad frames: an error each, and the socket still answers ---------------------------------------


def relayed(event: str, **data: Any) -> str:
    return json.dumps({"event": f"webrtc:{event}", "data": {"targetPeerId": "x", **data}})


BAD_FRAMES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "bad_json"),
    "empty binary": (b"", "bad_json"),
    "binary that is no UTF-8": (b"\xff\xfe\x00", "bad_json"),
    "word": ("hello", "bad_json"),
    "open": ('{"event": "ping"', "bad_json"),
    "two": ('{"event": "ping"}{"event": "ping"}', "bad_json"),
    "NaN": ('{"event": "ping", "data": {"x": NaN}}', "bad_json"),
    "Infinity": ('{"event": "ping", "data": {"x": -Infinity}}', "bad_json"),
    "control character": ('{"event": "join:room", "data": {"roomCode": "A\nB"}}', "bad_json"),
    "lone surrogate": ('{"event": "join:room", "data": {"roomCode": "\\ud800"}}', "bad_json"),
    "null": ("null", "bad_request"),
    "number": ("1", "bad_request"),
    "text": ('"ping"', "bad_request"),
    "list": ('[{"event": "ping"}]', "bad_request"),
    "no event": ("{}", "bad_request"),
    "event a number": ('{"event": 1}', "bad_request"),
    "id true": ('{"event": "ping", "id": true}', "bad_request"),
    "id an object": ('{"event": "ping", "id": {}}', "bad_request"),
    "id of 129 characters": (json.dumps({"event": "ping", "id": "x" * 129}), "bad_request"),
    "data a list": ('{"event": "join:room", "data": []}', "bad_request"),
    "no data": ('{"event": "join:room"}', "bad_request"),
    "nested 20 deep": ("[" * 20 + "]" * 20, "bad_request"),
    "nested 30000 deep": ("[" * 30_000 + "]" * 30_000, "bad_request"),
    "never closed": ('{"a":' * 10_000, "bad_request"),
    "code a list": ('{"event": "join:room", "data": {"roomCode": ["A"]}}', "bad_request"),
    "code of 65 characters": (
        json.dumps({"event": "join:room", "data": {"roomCode": "x" * 65}}),
        "bad_request",
    ),
    "code with NUL": (
        '{"event": "join:room", "data": {"roomCode": "A\\u0000B"}}',
        "room_not_found",
    ),
    "code with an umlaut": (
        '{"event": "join:room", "data": {"roomCode": "ÄÖÜ"}}',
        "room_not_found",
    ),
    "code an injection": (
        json.dumps({"event": "join:room", "data": {"roomCode": "' OR 1=1 --"}}),
        "room_not_found",
    ),
    "no target": ('{"event": "webrtc:ice", "data": {"candidate": "x"}}', "bad_request"),
    "target a number": (
        '{"event": "webrtc:ice", "data": {"targetPeerId": 1, "candidate": "x"}}',
        "bad_request",
    ),
    "no offer": (relayed("offer"), "bad_request"),
    "offer a text": (relayed("offer", offer="v=0"), "bad_request"),
    "offer of another type": (
        relayed("offer", offer={"type": "answer", "sdp": "v=0"}),
        "bad_request",
    ),
    "offer without SDP": (relayed("offer", offer={"type": "offer"}), "bad_request"),
    "answer of an evil type": (
        relayed("answer", answer={"type": "evil", "sdp": "v=0"}),
        "bad_request",
    ),
    "candidate a number": (relayed("ice", candidate=1), "bad_request"),
    "line index below zero": (
        relayed("ice", candidate={"candidate": "", "sdpMLineIndex": -1}),
        "bad_request",
    ),
    "line index beyond all": (
        relayed("ice", candidate={"candidate": "", "sdpMLineIndex": 10**400}),
        "bad_request",
    ),
    "candidate of 10 KiB": (relayed("ice", candidate="x" * 10_240), "message_too_large"),
    "candidate of 1000 keys": (
        relayed("ice", candidate={f"key{number}": 1 for number in range(1000)}),
        "message_too_large",
    ),
    "media a text": ('{"event": "peer:update", "data": {"media": {"audio": "no"}}}', "bad_request"),
    "name of 65 characters": (
        json.dumps({"event": "peer:update", "data": {"displayName": "x" * 65}}),
        "bad_request",
    ),
    "name that turns the text around": (
        '{"event": "peer:update", "data": {"displayName": "\\u202eevil"}}',
        "bad_request",
    ),
    "name with NUL": (
        '{"event": "peer:update", "data": {"displayName": "a\\u0000"}}',
        "bad_request",
    ),
    "token a number": ('{"event": "authenticate", "data": {"token": 1}}', "bad_request"),
    "endless token": (
        json.dumps({"event": "authenticate", "data": {"token": "x" * 20_000}}),
        "bad_request",
    ),
    **{
        f"event {name}": (json.dumps({"event": name}), "unknown_event")
        for name in (
            "__class__",
            "__init__",
            "websocket.disconnect",
            "signalling.closed",
            "signalling_closed",
            "dispatch",
            "close",
            "",
            "JOIN:ROOM",
            "join:room ",
            "room:joined",
            "peer:left",
            "x" * 10_000,
        )
    },
}


@pytest.fixture(scope="module")
def room(site: Site) -> str:
    return site.room()


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_costs_an_error_and_not_the_socket(
    site: Site, room: str, name: str
) -> None:
    frame, code = BAD_FRAMES[name]
    async with site.client("alice") as alice:
        await alice.send_raw(frame)
        await alice.receive_error(code)
        await alice.receive_nothing()


async def test_all_bad_frames_on_one_socket_in_a_room_disturb_nobody(site: Site, room: str) -> None:
    async with site.client("alice") as alice, site.client("bob") as bob:
        await bob.join(room)
        await alice.join(room)
        await bob.receive("peer:joined")
        for frame, _ in BAD_FRAMES.values():
            await alice.send_raw(frame)
            await alice.receive("error")
        await alice.receive_nothing()
        await bob.receive_nothing()
        await alice.send("webrtc:offer", {"targetPeerId": bob.peer_id, "offer": OFFER})
        assert (await bob.receive("webrtc:offer"))["offer"] == OFFER
