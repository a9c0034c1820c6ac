from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.contrib.auth.models import User
from django.db import OperationalError
from pytest_django import Settings

from rooms import services
from rooms.models import Participant, Room
from signalling import protocol
from signalling.conf import conf
from signalling.peers import handlers
from signalling.peers.messages import room_group
from signalling.peers.resumption import Resumption
from signalling.worker import process
from tests.conftest import access_token
from tests.signalling.sockets import Socket, connected, in_room

pytestmark = pytest.mark.django_db(transaction=True)

OFFER = {"type": "offer", "sdp": "v=0\r\n"}
ANSWER = {"type": "answer", "sdp": "v=0\r\n"}
CANDIDATE = "candidate:1 1 UDP 2130706431 192.0.2.1 54321 typ host"


@pytest.fixture
def strict(settings: Settings) -> Any:
    """Return a function that overrides keys of ``SIGNALLING``."""

    def override(**keys: object) -> None:
        settings.SIGNALLING = {**settings.SIGNALLING, **keys}

    return override


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Any:
    """Return a function that tells what our loggers had to say at ERROR."""

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]

    return told


@pytest.fixture
def leaves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The peers and reasons of all calls of ``services.leave``."""
    calls: list[tuple[str, str]] = []
    original = services.leave

    def leave(peer_id: str, *, reason: str = "left", epoch: int | None = None) -> bool:
        calls.append((peer_id, reason))
        return original(peer_id, reason=reason, epoch=epoch)

    monkeypatch.setattr(services, "leave", leave)
    return calls


class FaultyLayer(InMemoryChannelLayer):
    """A channel layer of which single methods can be away, and single channels full."""

    def __init__(self) -> None:
        super().__init__(capacity=1000)
        self.away: set[str] = set()
        self.full: set[str] = set()
        self.lost = asyncio.Event()

    def _check(self, method: str) -> None:
        if method in self.away:
            raise ConnectionError("the broker is away")

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._check("new_channel")
        name: str = await super().new_channel(prefix)
        return name

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._check("send")
        if channel in self.full:
            raise ChannelFull(channel)
        await super().send(channel, message)

    async def receive(self, channel: str) -> Any:
        received = asyncio.ensure_future(super().receive(channel))
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait((received, lost), return_when=asyncio.FIRST_COMPLETED)
            if not received.done():
                raise ConnectionError("the broker is away")
            return received.result()
        finally:
            lost.cancel()
            received.cancel()

    async def group_add(self, group: str, channel: str) -> None:
        self._check("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._check("group_discard")
        await super().group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._check("group_send")
        await super().group_send(group, message)


@pytest.fixture
async def layer() -> FaultyLayer:
    faulty = FaultyLayer()
    channel_layers.set("default", faulty)
    return faulty


async def live() -> list[str]:
    return [peer.peer_id async for peer in Participant.objects.live().order_by("seat")]


async def channel_of(socket: Socket) -> str:
    return (await Participant.objects.aget(peer_id=socket.peer_id)).channel_name


def subscribers(code: str = "ABC123") -> int:
    return len(get_channel_layer().groups.get(room_group(code), {}))


def explode(*arguments: object) -> None:
    raise RuntimeError("a bug")


def without_database(*arguments: object, **keywords: object) -> None:
    raise OperationalError("the database is away")


# --- Joining ----------------------------------------------------------------------------------


async def test_the_first_frame_after_a_join_is_the_room(room: Room, alice: User, bob: User) -> None:
    async with connected(alice) as first, connected(bob) as second:
        joined = await first.join("abc123")
        assert joined == {
            "roomId": "room_abc123",
            "peerId": first.peer_id,
            "peers": [],
            "mode": "p2p",
            "iceServers": [],
            "iceExpiresAt": None,
            "role": "host",
            "limits": {"p2p": 10, "total": 50, "meshKbps": conf().mesh_kbps},
            "resumed": False,
        }
        joined = await second.join()
        assert joined["role"] == "member"
        assert joined["peers"] == [
            {"id": first.peer_id, "userInfo": {"username": "alice"}, "media": {}, "away": False}
        ]
        assert await first.expect("peer:joined") == {
            "peerId": second.peer_id,
            "userInfo": {"username": "bob"},
            "media": {},
        }
        await second.receive_nothing()


async def test_a_join_without_an_id_is_answered_as_well(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.send("join:room", {"roomCode": "ABC123"})
        assert (await socket.expect("room:joined"))["roomId"] == "room_abc123"


async def test_the_server_says_nothing_before_the_client_does(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.receive_nothing()


async def test_peers_are_given_the_ice_servers_of_the_site(
    room: Room, bob: User, strict: Any
) -> None:
    strict(ICE_SERVERS=[{"urls": "stun:stun.example.org"}])
    async with connected(bob) as socket:
        assert (await socket.join())["iceServers"] == [{"urls": "stun:stun.example.org"}]


async def test_all_who_join_at_once_learn_of_each_other_once(
    room: Room, alice: User, bob: User
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connected(user)) for user in (alice, bob, alice, bob)
        ]
        joins = await asyncio.gather(*(socket.join() for socket in sockets))
        ids = {socket.peer_id for socket in sockets}
        for socket, joined in zip(sockets, joins, strict=True):
            known = [peer["id"] for peer in joined["peers"]]
            while len(known) < 3:
                known.append((await socket.expect("peer:joined"))["peerId"])
            assert set(known) == ids - {socket.peer_id}
        for socket in sockets:
            await socket.receive_nothing()


async def test_the_eleventh_is_told_that_the_room_is_full(
    room: Room, alice: User, bob: User
) -> None:
    await Room.objects.aupdate(p2p_limit=1)
    async with in_room(alice), connected(bob) as socket:
        answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert answer["event"] == "error"
        error = answer["data"]
        assert (error["code"], error["limit"], error["mode"]) == ("room_full", 1, "p2p")
        assert error["event"] == "join:room"
        assert subscribers() == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"code": "OTHER"}, "room_not_found"),
        ({"is_active": False}, "room_closed"),
        ({"is_locked": True}, "room_locked"),
    ],
)
async def test_a_door_that_does_not_open_says_why(
    room: Room, bob: User, change: dict[str, Any], code: str
) -> None:
    await Room.objects.aupdate(**change)
    async with connected(bob) as socket:
        answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == code
        assert answer["data"]["message"]
        assert subscribers() == 0
        assert await live() == []
        await Room.objects.aupdate(code="ABC123", is_active=True, is_locked=False)
        await socket.join()  # the refusal has cost nothing


async def test_a_policy_may_forbid_the_door(room: Room, alice: User, strict: Any) -> None:
    strict(CAN_JOIN="tests.rooms.hooks.only_bob")
    async with connected(alice) as socket:
        answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "forbidden"


@pytest.mark.parametrize("code", ["ABC124", "no way", "", "ü"])
async def test_a_code_of_no_room_is_not_found(room: Room, bob: User, code: str) -> None:
    async with connected(bob) as socket:
        await socket.send("join:room", {"roomCode": code})
        assert await socket.receive_error() == "room_not_found"


async def test_one_socket_is_in_one_room(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        answer = await second.ask("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "already_joined"
        await first.receive_nothing()
        assert await live() == [first.peer_id, second.peer_id]


async def test_who_guesses_at_codes_is_slowed_down(room: Room, bob: User, strict: Any) -> None:
    strict(FAILURE_LIMIT=3)
    async with connected(bob) as socket:
        for code in ("GUESS1", "GUESS2", "GUESS3"):
            await socket.send("join:room", {"roomCode": code})
            assert await socket.receive_error() == "room_not_found"
        answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "rate_limited"
        assert answer["data"]["retryAfter"] == 1
        await socket.receive_nothing()


# --- Leaving ----------------------------------------------------------------------------------


async def test_who_leaves_is_said_to_have_left_once(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        assert await second.ask("leave:room") == {"event": "ack", "data": {}}
        assert await first.expect("peer:left") == {"peerId": second.peer_id, "reason": "left"}
        await first.receive_nothing()
        assert subscribers() == 1
        answer = await second.ask("leave:room")
        assert answer["data"]["code"] == "not_in_room"
        await first.receive_nothing()


async def test_who_has_left_may_join_again_as_another_peer(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        old = second.peer_id
        await second.ask("leave:room")
        assert (await first.expect("peer:left"))["peerId"] == old
        await second.join()
        assert second.peer_id != old
        assert (await first.expect("peer:joined"))["peerId"] == second.peer_id


@pytest.mark.parametrize(
    ("close_code", "reason"), [(1000, "left"), (1001, "left"), (1006, "disconnected")]
)
async def test_who_hangs_up_is_said_to_have_left_once(
    room: Room,
    alice: User,
    bob: User,
    leaves: list[tuple[str, str]],
    close_code: int,
    reason: str,
) -> None:
    async with in_room(alice) as (first,), connected(bob) as second:
        await second.join()
        await first.expect("peer:joined")
        await second.disconnect(close_code)
        assert await first.expect("peer:left") == {"peerId": second.peer_id, "reason": reason}
        await first.receive_nothing()
        assert leaves == [(second.peer_id, reason)]
        assert await live() == [first.peer_id]
        assert subscribers() == 1


async def test_who_left_and_hangs_up_leaves_once(
    room: Room, bob: User, leaves: list[tuple[str, str]]
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        await socket.ask("leave:room")
    assert leaves == [(socket.peer_id, "left")]


async def test_a_server_that_stops_leaves_nobody_behind(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice) as (first,):
        second = Socket(headers={"authorization": f"Bearer {access_token(bob)}"})
        await second.open()
        await second.join()
        await first.expect("peer:joined")
        await second.cut()
        assert (await first.expect("peer:left"))["reason"] == "disconnected"
        assert await live() == [first.peer_id]


async def test_a_join_that_is_cut_off_in_the_middle_leaves_nothing_behind(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on = threading.Event(), threading.Event()
    original = services.join

    def slow_join(**arguments: Any) -> services.Joined:
        begun.set()
        assert may_go_on.wait(10)
        return original(**arguments)

    monkeypatch.setattr(services, "join", slow_join)
    socket = Socket(headers={"authorization": f"Bearer {access_token(bob)}"})
    await socket.open()
    await socket.send("join:room", {"roomCode": "ABC123"})
    assert await asyncio.to_thread(begun.wait, 10)
    asyncio.get_running_loop().call_later(0.05, may_go_on.set)
    await socket.cut()
    assert await Participant.objects.acount() == 1  # it did commit
    assert await live() == []
    assert subscribers() == 0


async def test_a_leave_without_a_database_is_told_at_once_and_written_later(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (first,):
        async with connected(bob) as socket:
            await socket.join()
            await first.expect("peer:joined")
            with monkeypatch.context() as outage:
                outage.setattr(type(Participant.objects), "of_socket", without_database)
                await socket.disconnect(1006)
            assert (await first.expect("peer:left"))["reason"] == "disconnected"
            assert await live() == [first.peer_id, socket.peer_id]
            await process.get_worker().heartbeat()
            assert await live() == [first.peer_id]
        assert subscribers() == 1


async def test_a_room_that_is_closed_sends_everybody_home(
    room: Room, alice: User, bob: User, leaves: list[tuple[str, str]]
) -> None:
    async with in_room(alice, bob) as sockets:
        await database_sync_to_async(services.close_room)(room)
        calls = len(leaves)
        for socket in sockets:
            assert await socket.expect("room:closed") == {"reason": "closed"}
            assert await socket.closed() == 4410
        assert subscribers() == 0
    assert len(leaves) == calls  # they hung up, and there was nothing left to leave


# --- Relays -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "key", "payload"),
    [
        ("webrtc:offer", "offer", OFFER),
        ("webrtc:answer", "answer", ANSWER),
        ("webrtc:ice", "candidate", CANDIDATE),
        ("webrtc:ice", "candidate", {"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0}),
        ("webrtc:ice", "candidate", None),
        ("webrtc:ice", "candidate", ""),
    ],
)
async def test_a_relay_arrives_with_the_sender_as_the_server_knows_it(
    room: Room, alice: User, bob: User, event: str, key: str, payload: object
) -> None:
    async with in_room(alice, bob) as (first, second):
        request = {"targetPeerId": first.peer_id, key: payload, "fromPeerId": "spoofed", "x": 1}
        assert await second.ask(event, request) == {"event": "ack", "data": {}}
        assert await first.expect(event) == {
            "targetPeerId": first.peer_id,
            key: payload,
            "fromPeerId": second.peer_id,
        }


async def test_a_relay_without_an_id_is_not_answered(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.send("webrtc:offer", {"targetPeerId": first.peer_id, "offer": OFFER})
        await first.expect("webrtc:offer")
        await second.receive_nothing()


async def test_relays_arrive_in_the_order_they_were_sent(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        target = {"targetPeerId": first.peer_id}
        await second.send("webrtc:offer", {**target, "offer": OFFER})
        for number in range(30):
            await second.send("webrtc:ice", {**target, "candidate": f"candidate:{number}"})
        await first.expect("webrtc:offer")
        for number in range(30):
            assert (await first.expect("webrtc:ice"))["candidate"] == f"candidate:{number}"


async def test_a_third_peer_hears_nothing_of_a_relay(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob, bob) as (first, second, third):
        await second.ask("webrtc:ice", {"targetPeerId": first.peer_id, "candidate": CANDIDATE})
        await first.expect("webrtc:ice")
        await third.receive_nothing()


async def test_all_targets_that_cannot_be_are_refused_with_the_same_text(
    room: Room, alice: User, bob: User
) -> None:
    await database_sync_to_async(services.open_room)(host=alice, code="OTHER")
    async with (
        in_room(alice, bob, bob) as (_, second, gone),
        in_room(alice, code="OTHER") as (stranger,),
    ):
        await gone.ask("leave:room")
        await second.expect("peer:left")
        answers = [
            await second.ask("webrtc:offer", {"targetPeerId": target, "offer": OFFER})
            for target in (stranger.peer_id, gone.peer_id, second.peer_id, "peer_x", "")
        ]
        assert answers[0]["data"]["code"] == "peer_not_found"
        assert all(answer == answers[0] for answer in answers)
        await stranger.receive_nothing()


@pytest.mark.parametrize(
    ("event", "data"),
    [
        ("leave:room", None),
        ("webrtc:offer", {"targetPeerId": "p", "offer": OFFER}),
        ("webrtc:answer", {"targetPeerId": "p", "answer": ANSWER}),
        ("webrtc:ice", {"targetPeerId": "p", "candidate": CANDIDATE}),
        ("peer:update", {"media": {"audio": True}}),
    ],
)
async def test_what_needs_a_room_is_refused_outside_one(
    room: Room, bob: User, event: str, data: object
) -> None:
    async with connected(bob) as socket:
        answer = await socket.ask(event, data)
        assert (answer["data"]["code"], answer["data"]["event"]) == ("not_in_room", event)


async def test_a_peer_that_does_not_keep_up_is_busy(
    room: Room, alice: User, bob: User, layer: FaultyLayer
) -> None:
    async with in_room(alice, bob) as (first, second):
        layer.full.add(await channel_of(first))
        request = {"targetPeerId": first.peer_id, "candidate": CANDIDATE}
        answer = await second.ask("webrtc:ice", request)
        assert answer["data"]["code"] == "peer_busy"
        assert answer["data"]["retryAfter"] == 1
        layer.full.clear()
        assert (await second.ask("webrtc:ice", request))["event"] == "ack"
        await first.expect("webrtc:ice")


# --- Presence ---------------------------------------------------------------------------------


async def test_an_update_reaches_the_others_and_those_who_come_later(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second), connected(bob) as third:
        update = {"media": {"audio": True, "video": False}, "displayName": "Bobby", "x": 1}
        assert (await second.ask("peer:update", update))["event"] == "ack"
        assert await first.expect("peer:updated") == {
            "peerId": second.peer_id,
            "media": {"audio": True, "video": False},
            "displayName": "Bobby",
        }
        await second.receive_nothing()
        _, known = (await third.join())["peers"]
        assert known["media"] == {"audio": True, "video": False}
        assert known["userInfo"] == {"username": "bob", "displayName": "Bobby"}


async def test_an_update_says_nothing_of_what_stays(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        await second.ask("peer:update", {"media": {"screen": True}})
        updated = await first.expect("peer:updated")
        assert updated == {"peerId": second.peer_id, "media": {"screen": True}}
        await second.ask("peer:update", {"displayName": ""})
        updated = await first.expect("peer:updated")
        assert updated == {"peerId": second.peer_id, "displayName": ""}


# --- Late and foreign news --------------------------------------------------------------------


async def tell(channel: str, message: dict[str, Any]) -> None:
    """Let a message of the channel layer arrive at the socket that has this channel."""
    await get_channel_layer().send(channel, message)


def roster(change: str, peer_id: str, room: str = "ABC123", number: int = 1000) -> dict[str, Any]:
    frame = json.dumps({"event": f"peer:{change}", "data": {"peerId": peer_id}})
    return {
        "type": "signalling.roster",
        "room": room,
        "peer_id": peer_id,
        "channel": "specific.c!x",
        "change": change,
        "number": number,
        "frame": frame,
    }


def closing(room: str) -> dict[str, Any]:
    return {"type": "signalling.closed", "room": room, "reason": "closed"}


def relayed(target: str, sender: str) -> dict[str, Any]:
    return {"type": "signalling.relay", "target": target, "sender": sender, "frame": "{}"}


async def test_what_is_known_is_not_said_twice(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await tell(channel, roster("joined", second.peer_id))
        await first.receive_nothing()
        for _ in range(2):
            await tell(channel, roster("left", second.peer_id))
        await first.expect("peer:left")
        await first.receive_nothing()


async def test_news_of_unknown_peers_and_other_rooms_is_ignored(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await tell(channel, roster("left", "peer_x"))
        await tell(channel, roster("updated", "peer_x"))
        await tell(channel, roster("joined", "peer_x", room="OTHER"))
        await tell(channel, roster("left", second.peer_id, room="OTHER"))
        await tell(channel, closing("OTHER"))
        await first.receive_nothing()
        assert (await first.ask("leave:room"))["event"] == "ack"


async def test_who_joined_before_me_and_is_not_in_my_list_has_left(
    room: Room, alice: User, bob: User
) -> None:
    """The announcement was on its way when this socket left the room and joined it again."""
    async with in_room(alice, bob) as (first, _):
        await tell(await channel_of(first), roster("joined", "peer_x", number=0))
        await first.receive_nothing()
        request = {"targetPeerId": "peer_x", "offer": OFFER}
        assert (await first.ask("webrtc:offer", request))["data"]["code"] == "peer_not_found"


async def test_relays_for_another_peer_id_or_from_an_unknown_one_are_ignored(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await tell(channel, relayed(target=first.peer_id, sender="peer_x"))
        await tell(channel, relayed(target="peer_x", sender=second.peer_id))
        await first.receive_nothing()


async def test_news_that_come_after_the_leave_are_ignored(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        channel = await channel_of(first)
        await first.ask("leave:room")
        await tell(channel, roster("joined", "peer_x"))
        await tell(channel, roster("left", second.peer_id))
        await tell(channel, closing("ABC123"))
        await tell(channel, relayed(target=first.peer_id, sender=second.peer_id))
        await first.receive_nothing()


# --- Frames -----------------------------------------------------------------------------------


async def test_every_id_comes_back_exactly_once(room: Room, alice: User, bob: User) -> None:
    async with in_room(alice) as (first,), connected(bob) as socket:
        target = {"targetPeerId": first.peer_id}
        requests: list[tuple[str, object]] = [
            ("authenticate", {"token": access_token(bob)}),
            ("webrtc:ice", {**target, "candidate": ""}),
            ("join:room", {"roomCode": "ABC123"}),
            ("join:room", {"roomCode": "ABC123"}),
            ("webrtc:offer", {**target, "offer": OFFER}),
            ("webrtc:answer", {**target, "answer": ANSWER}),
            ("webrtc:ice", {**target, "candidate": ""}),
            ("webrtc:ice", {**target}),
            ("peer:update", {"displayName": "Bobby"}),
            ("ping", None),
            ("no:such", None),
            ("leave:room", None),
        ]
        for number, (event, data) in enumerate(requests):
            await socket.send(event, data, id=f"id {number}")
        answers = [await socket.next() for _ in requests]
        assert [answer["id"] for answer in answers] == [f"id {n}" for n in range(len(requests))]
        assert [answer["event"] for answer in answers] == [
            "authenticated", "error", "room:joined", "error", "ack", "ack", "ack", "error", "ack",
            "pong", "error", "ack",
        ]  # fmt: skip
        await socket.receive_nothing()


@pytest.mark.parametrize("request_id", [0, 1, -1, 1.5, "", "a", "é", 2**53])
async def test_an_id_comes_back_as_it_was(bob: User, request_id: object) -> None:
    async with connected(bob) as socket:
        await socket.send("ping", id=request_id)
        assert await socket.next() == {"event": "pong", "data": {}, "id": request_id}


async def test_an_answer_without_a_request_id_has_none(bob: User) -> None:
    async with connected(bob) as socket:
        await socket.send("ping")
        assert await socket.next() == {"event": "pong", "data": {}}
        await socket.send("ping", id=None)
        assert await socket.next() == {"event": "pong", "data": {}}


async def test_a_binary_frame_is_read_the_same_way(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.send_bytes(b'{"event": "ping", "id": "\xc3\xa9"}')
        assert await socket.next() == {"event": "pong", "data": {}, "id": "é"}
        await socket.send_bytes(b"\xff\xfe")
        assert await socket.receive_error() == "bad_json"
        await socket.send_bytes(b"")
        assert await socket.receive_error() == "bad_json"


@pytest.mark.parametrize(
    ("text", "code", "path", "event", "request_id"),
    [
        ("{", "bad_json", None, None, None),
        ("", "bad_json", None, None, None),
        ("[]", "bad_request", "$", None, None),
        ('{"id": 1}', "bad_request", "$", None, 1),
        ('{"event": "no:such", "id": 1}', "unknown_event", None, "no:such", 1),
        ('{"event": "join:room", "data": {}, "id": 1}', "bad_request", "$.data", "join:room", 1),
        (
            '{"event": "join:room", "data": {"roomCode": 5}}',
            "bad_request",
            "$.data.roomCode",
            "join:room",
            None,
        ),
        (
            '{"event": "webrtc:offer", "data": {"targetPeerId": "p", "offer": {"type": "answer", '
            '"sdp": ""}}}',
            "bad_request",
            "$.data.offer.type",
            "webrtc:offer",
            None,
        ),
    ],
)
async def test_a_bad_frame_costs_an_error_and_not_the_socket(
    bob: User,
    text: str,
    code: str,
    path: str | None,
    event: str | None,
    request_id: object,
) -> None:
    async with connected(bob) as socket:
        await socket.send_text(text)
        frame = await socket.next()
        error = frame["data"]
        assert (frame["event"], frame.get("id")) == ("error", request_id)
        assert (error["code"], error.get("path"), error.get("event")) == (code, path, event)
        await socket.receive_nothing()


async def test_an_oversize_frame_costs_the_socket(bob: User) -> None:
    async with connected(bob) as socket:
        frame = '{"event": "ping", "id": 1, "data": {"x": "%s"}}'
        await socket.send_text(frame % ("x" * (65_536 - len(frame) + 2)))
        assert (await socket.next())["event"] == "pong"
        await socket.send_text(frame % ("x" * (65_536 - len(frame) + 3)))
        assert await socket.receive_error() == "message_too_large"
        assert await socket.closed() == 4400


# --- Limits -----------------------------------------------------------------------------------


async def test_a_hundred_violations_are_borne(bob: User) -> None:
    async with connected(bob) as socket:
        for _ in range(100):
            await socket.send_text("{")
        for _ in range(100):
            assert await socket.receive_error() == "bad_json"
        await socket.receive_nothing()


async def test_more_violations_cost_the_socket(bob: User, strict: Any) -> None:
    strict(VIOLATIONS=5)
    async with connected(bob) as socket:
        for _ in range(8):  # while they come, one or two are forgiven
            await socket.send_text("{")
        codes = [(await socket._wire.receive_output(10))["type"] for _ in range(7)]
        assert codes == ["websocket.send"] * 6 + ["websocket.close"]


async def test_who_is_too_fast_is_told_to_wait_and_a_flood_costs_the_socket(
    bob: User, strict: Any
) -> None:
    strict(FRAME_RATE=0.01, FRAME_BURST=3, FLOOD_FRAMES=2)
    async with connected(bob) as socket:
        for _ in range(3):
            assert (await socket.ask("ping"))["event"] == "pong"
        for _ in range(2):
            answer = await socket.ask("ping")
            assert answer["data"]["code"] == "rate_limited"
            assert 90 < answer["data"]["retryAfter"] <= 100.1
        answer = await socket.ask("ping")
        assert answer["data"]["code"] == "rate_limited"
        assert await socket.closed() == 4429


async def test_what_comes_after_the_close_is_not_read(bob: User, strict: Any) -> None:
    strict(FRAME_RATE=0.01, FRAME_BURST=1, FLOOD_FRAMES=1)
    async with connected(bob) as socket:
        for _ in range(10):
            await socket.send("ping")
        await socket.expect("pong")
        assert [await socket.receive_error() for _ in range(2)] == ["rate_limited"] * 2
        assert await socket.closed() == 4429
        await socket.disconnect()
        assert await socket._wire.receive_nothing(0)


async def test_offers_have_a_limit_of_their_own(
    room: Room, alice: User, bob: User, strict: Any
) -> None:
    strict(OFFER_RATE=1)
    async with in_room(alice, bob) as (first, second):
        target = {"targetPeerId": first.peer_id}
        assert (await second.ask("webrtc:offer", {**target, "offer": OFFER}))["event"] == "ack"
        answer = await second.ask("webrtc:offer", {**target, "offer": OFFER})
        assert answer["data"]["code"] == "rate_limited"
        assert 0 < answer["data"]["retryAfter"] <= 1.001
        for event, key in (("webrtc:answer", "answer"), ("webrtc:ice", "candidate")):
            payload = ANSWER if key == "answer" else CANDIDATE
            assert (await second.ask(event, {**target, key: payload}))["event"] == "ack"


async def test_silence_costs_a_client_that_pings_its_socket(bob: User, strict: Any) -> None:
    strict(HEARTBEAT_TIMEOUT=0.1)
    async with connected(bob) as socket:
        await socket.ask("ping")
        assert await socket.receive_error() == "unavailable"
        assert await socket.closed() == 4408


async def test_an_error_that_answers_nothing_takes_no_id_of_a_request_under_way(
    room: Room, bob: User, strict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict(HEARTBEAT_TIMEOUT=0.1)
    may_join = threading.Event()
    join = services.join

    def slow_join(**arguments: Any) -> services.Joined:
        may_join.wait(10)
        return join(**arguments)

    monkeypatch.setattr(services, "join", slow_join)
    async with connected(bob) as socket:
        await socket.ask("ping")
        await socket.send("join:room", {"roomCode": room.code}, id="mine")
        frame = await socket.next()
        assert (frame["data"]["code"], frame.get("id")) == ("unavailable", None)
        assert await socket.closed() == 4408
        may_join.set()


async def test_a_client_that_is_heard_in_time_stays(bob: User, strict: Any) -> None:
    strict(HEARTBEAT_TIMEOUT=1.0)
    async with connected(bob) as socket:
        for _ in range(5):
            await asyncio.sleep(0.3)
            assert (await socket.ask("ping"))["event"] == "pong"


async def test_a_client_that_never_pings_may_be_silent(bob: User, strict: Any) -> None:
    strict(HEARTBEAT_TIMEOUT=0.05)
    async with connected(bob) as socket:
        await socket.ask("leave:room")
        await asyncio.sleep(0.3)
        assert (await socket.ask("leave:room"))["data"]["code"] == "not_in_room"


# --- Identity ---------------------------------------------------------------------------------


async def test_a_socket_may_authenticate_with_its_first_frame(room: Room, bob: User) -> None:
    socket = Socket()
    await socket.open()
    answer = await socket.ask("authenticate", {"token": access_token(bob)})
    assert answer["event"] == "authenticated"
    assert answer["data"]["userInfo"] == {"username": "bob"}
    assert answer["data"]["expiresAt"]
    await socket.join()
    await socket.disconnect()


@pytest.mark.parametrize("event", ["join:room", "leave:room", "ping", "peer:update"])
async def test_a_stranger_may_do_nothing_else(room: Room, event: str) -> None:
    socket = Socket()
    await socket.open()
    answer = await socket.ask(event, {"roomCode": "ABC123"})
    assert answer["data"]["code"] == "authentication_required"
    assert await socket.closed() == 4401
    await socket.disconnect()


async def test_a_stranger_who_is_silent_is_sent_away(bob: User, strict: Any) -> None:
    strict(AUTHENTICATION_TIMEOUT=0.05)
    socket = Socket()
    await socket.open()
    assert await socket.receive_error() == "authentication_required"
    assert await socket.closed() == 4401
    await socket.disconnect()


async def test_who_has_authenticated_in_time_may_stay(bob: User, strict: Any) -> None:
    strict(AUTHENTICATION_TIMEOUT=1.0)
    socket = Socket()
    await socket.open()
    await socket.ask("authenticate", {"token": access_token(bob)})
    await asyncio.sleep(1.2)
    await socket.receive_nothing()
    await socket.disconnect()


async def test_a_wrong_token_in_the_handshake_is_said_on_an_open_socket() -> None:
    socket = Socket(headers={"authorization": "Bearer wrong"})
    await socket.open()
    assert await socket.receive_error() == "token_invalid"
    assert await socket.closed() == 4401
    await socket.disconnect()


async def test_a_wrong_token_in_a_frame_costs_the_socket(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice, bob) as (first, second):
        answer = await second.ask("authenticate", {"token": "wrong"})
        assert answer["data"]["code"] == "token_invalid"
        assert await second.closed() == 4401
        await second.disconnect(1006)
        assert (await first.expect("peer:left"))["peerId"] == second.peer_id


async def test_a_socket_renews_its_own_token_and_takes_no_other_users(
    alice: User, bob: User
) -> None:
    async with connected(bob) as socket:
        renewed = await socket.ask("authenticate", {"token": access_token(bob)})
        assert renewed["event"] == "authenticated"
        answer = await socket.ask("authenticate", {"token": access_token(alice)})
        assert answer["data"]["code"] == "token_subject_mismatch"
        again = await socket.ask("authenticate", {"token": access_token(bob)})
        assert again["data"]["userInfo"] == {"username": "bob"}


# --- Faults -----------------------------------------------------------------------------------


async def test_a_bug_in_a_handler_is_internal_and_the_socket_lives(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch, errors: Any
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        monkeypatch.setattr(handlers, "HANDLERS", handlers.HANDLERS | {protocol.LeaveRoom: explode})
        answer = await socket.ask("leave:room")
        error = answer["data"]
        assert (error["code"], error["event"]) == ("internal", "leave:room")
        assert "bug" not in error["message"]
        assert any(error["reference"] in line for line in errors())
        await socket.receive_nothing()
        assert await live() == [socket.peer_id]


async def test_a_bug_in_a_hook_of_the_site_leaves_no_half_a_join(
    room: Room, bob: User, strict: Any
) -> None:
    strict(CAN_JOIN="tests.rooms.hooks.explode")
    async with connected(bob) as socket:
        answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert answer["data"]["code"] == "internal"
        assert (await live(), subscribers()) == ([], 0)
        strict(CAN_JOIN="rooms.policies.can_join")
        await socket.join()


async def test_a_bug_on_the_side_of_the_channel_layer_costs_the_socket(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch, errors: Any
) -> None:
    async with in_room(alice, bob) as (first, second):
        monkeypatch.setattr(Resumption, "receive", explode)
        await second.send("webrtc:offer", {"targetPeerId": first.peer_id, "offer": OFFER})
        frame = await first.next()
        assert frame["data"]["code"] == "internal"
        assert any(frame["data"]["reference"] in line for line in errors())
        assert await first.closed() == 4500
        await first.disconnect(1006)
        assert (await second.expect("peer:left"))["peerId"] == first.peer_id


async def test_a_message_of_an_unknown_type_costs_the_socket(room: Room, bob: User) -> None:
    async with in_room(bob) as (socket,):
        await tell(await channel_of(socket), {"type": "no.such.thing"})
        assert await socket.receive_error() == "internal"
        assert await socket.closed() == 4500


async def test_a_stock_layer_that_fails_closes_no_socket_and_is_heard_again(
    room: Room, alice: User, layer: FaultyLayer
) -> None:
    socket = Socket(headers={"authorization": f"Bearer {access_token(alice)}"})
    await socket.open()
    await socket.join()
    layer.lost.set()
    await socket.receive_nothing()
    layer.lost.clear()
    await tell(await channel_of(socket), {"type": "no.such.thing"})
    assert await socket.receive_error() == "internal"  # so it is heard again
    assert await socket.closed() == 4500


async def test_a_socket_that_finds_no_channel_layer_is_told_to_come_back(
    alice: User, layer: FaultyLayer
) -> None:
    layer.away.add("new_channel")
    socket = Socket(headers={"authorization": f"Bearer {access_token(alice)}"})
    await socket.open()
    assert await socket.receive_error() == "unavailable"
    assert await socket.closed() == 4503
    await socket.wait_closed()


async def test_a_join_that_cannot_subscribe_takes_no_seat(
    room: Room, bob: User, layer: FaultyLayer
) -> None:
    async with connected(bob) as socket:
        layer.away.add("group_add")
        answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert (answer["data"]["code"], answer["data"]["retryAfter"]) == ("unavailable", 2)
        assert await live() == []
        layer.away.clear()
        await socket.join()


async def test_a_relay_without_a_channel_layer_is_refused_and_the_socket_lives(
    room: Room, alice: User, bob: User, layer: FaultyLayer
) -> None:
    async with in_room(alice, bob) as (first, second):
        layer.away.add("send")
        request = {"targetPeerId": first.peer_id, "candidate": CANDIDATE}
        answer = await second.ask("webrtc:ice", request)
        assert answer["data"]["code"] == "unavailable"
        layer.away.clear()
        assert (await second.ask("webrtc:ice", request))["event"] == "ack"
        await first.expect("webrtc:ice")


@pytest.mark.parametrize("method", ["group_send", "group_discard"])
async def test_a_leave_without_a_channel_layer_frees_the_seat_all_the_same(
    room: Room, bob: User, layer: FaultyLayer, method: str
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        layer.away.add(method)
    assert await live() == []


async def test_without_its_database_a_join_is_refused_and_the_socket_lives(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(bob) as socket:
        with monkeypatch.context() as patch:
            patch.setattr(services, "join", without_database)
            answer = await socket.ask("join:room", {"roomCode": "ABC123"})
        assert (answer["data"]["code"], answer["data"]["retryAfter"]) == ("unavailable", 2)
        assert subscribers() == 0
        await socket.join()


async def test_a_client_that_is_gone_already_raises_nothing(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch, errors: Any
) -> None:
    async with connected(bob) as socket:
        await socket.join()

        async def broken_pipe(*arguments: object, **keywords: object) -> None:
            raise OSError

        monkeypatch.setattr("channels.consumer.AsyncConsumer.send", broken_pipe)
        await socket.send("ping")
    assert errors() == []
    monkeypatch.undo()
    assert await live() == []
