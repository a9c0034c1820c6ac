"""The handlers against a fake of their port: no socket, no channel layer and no database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import ANY

import pytest
from django.contrib.auth.models import User
from msgspec import Raw
from pytest_django import Settings

from rooms import exceptions, policies, services
from rooms.models import Participant, Room
from rooms.services import Joined
from signalling import protocol
from signalling.auth.tokens import Identity, TokenRefused
from signalling.peers import handlers, messages
from signalling.peers.membership import Membership
from signalling.peers.messages import Announcement, RosterChange
from signalling.peers.port import P, T
from signalling.protocol import ProtocolError, ServerEvent
from tests.rooms.hooks import shout

BOB = User(pk=2, username="bob")
ALICE = User(pk=1, username="alice")


class FakePeer:
    """A socket that writes down what a handler asks of it, and answers as the test has prepared."""

    def __init__(self, user: User | None = BOB, membership: Membership | None = None) -> None:
        self.identity = Identity(user=user) if user else None
        self.membership = membership
        self.address = "192.0.2.1"
        self.channel_name = "channel!me"
        self.did: list[Any] = []
        self.results: dict[Callable[..., Any], Any] = {}
        self.tokens: dict[str, Identity] = {}

    async def answer(self, event: ServerEvent) -> None:
        self.did.append(event)

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.did.append((getattr(function, "__name__", ""), *args, kwargs))
        result = self.results[function]
        if isinstance(result, Exception):
            raise result
        return cast(T, result)

    async def record(self, function: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
        return await self.database(function, *args, **kwargs)

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        joined = await self.database(service, **arguments)
        assert self.membership is not None
        self.membership.adopt(joined)
        return joined

    async def register_worker(self) -> str:
        return "worker"

    async def take_over(self, channel: str) -> None:
        self.did.append(f"take over {channel}")

    def restore(self, held: Any) -> None:
        self.did.append(("restore", held))

    def expect_heartbeat(self) -> None:
        self.did.append("expect heartbeat")

    async def identify(self, token: str) -> Identity:
        if token not in self.tokens:
            raise TokenRefused(protocol.ErrorCode.TOKEN_INVALID)
        return self.tokens[token]

    def seated(self) -> None:
        self.did.append("seated")

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        self.did.append("follow mode")

    async def subscribe(self, room_code: str) -> None:
        self.did.append(f"subscribe {room_code}")

    async def unsubscribe(self, room_code: str) -> None:
        self.did.append(f"unsubscribe {room_code}")

    async def publish(self, message: RosterChange | Announcement) -> None:
        name = message["change"] if message["type"] == "signalling.roster" else "announcement"
        self.did.append((f"publish {name} to {message['room']}", message))

    async def relay(self, target_peer_id: str, frame: str) -> None:
        self.did.append((f"relay to {target_peer_id}", frame))

    @property
    def steps(self) -> list[str]:
        """What was done, in order, by name."""
        return [
            step if isinstance(step, str) else getattr(step, "event", None) or step[0]
            for step in self.did
        ]


def in_room() -> FakePeer:
    """A peer in ABC123 with one other."""
    membership = Membership("ABC123", peer_id="peer_me", roster={"peer_other": "channel!other"})
    return FakePeer(membership=membership)


def seated(peer_id: str, user: User, room: Room) -> Participant:
    info = {"username": user.username}
    return Participant(
        pk=7, peer_id=peer_id, user=user, room=room, channel_name=f"c!{peer_id}", user_info=info
    )


async def refusal(call: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as refused:
        await call
    return refused.value


def test_every_client_event_has_its_handler() -> None:
    assert set(handlers.HANDLERS) == set(protocol.CLIENT_EVENTS.values())


# --- authenticate -----------------------------------------------------------------------------


async def test_a_token_makes_an_identity() -> None:
    peer = FakePeer(user=None)
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    peer.tokens["t"] = Identity(user=BOB, expires_at=expires_at)
    peer.results[policies.user_info] = {"username": "bob"}
    await handlers.authenticate(peer, protocol.Authenticate(token="t"))
    assert peer.identity is peer.tokens["t"]
    assert peer.did[1:] == [
        protocol.Authenticated(
            user_info={"username": "bob"}, expires_at="2030-01-01T00:00:00+00:00"
        )
    ]


async def test_a_site_may_say_more_of_who_has_authenticated(settings: Settings) -> None:
    settings.SIGNALLING = {"USER_INFO": "tests.rooms.hooks.shout"}
    peer = FakePeer(user=None)
    peer.tokens["t"] = Identity(user=BOB)
    peer.results[shout] = {"username": "BOB"}
    await handlers.authenticate(peer, protocol.Authenticate(token="t"))
    _, answer = peer.did
    assert (answer.user_info["username"], answer.expires_at) == ("BOB", None)


async def test_a_socket_never_changes_hands() -> None:
    peer = FakePeer(user=BOB)
    before = peer.identity
    peer.tokens["t"] = Identity(user=ALICE)
    refused = await refusal(handlers.authenticate(peer, protocol.Authenticate(token="t")))
    assert refused.code == "token_subject_mismatch"
    assert peer.identity is before


async def test_a_wrong_token_changes_nothing() -> None:
    peer = FakePeer(user=BOB)
    before = peer.identity
    refused = await refusal(handlers.authenticate(peer, protocol.Authenticate(token="x")))
    assert refused.code == "token_invalid"
    assert (peer.identity, peer.did) == (before, [])


# --- join:room --------------------------------------------------------------------------------


async def test_a_join_goes_group_first_row_second_answer_third_announcement_last() -> None:
    peer = FakePeer()
    room = Room(code="ABC123", host=ALICE)
    other = seated("peer_other", ALICE, room)
    peer.results[services.join] = Joined(
        room=room, participant=seated("peer_me", BOB, room), others=[other]
    )
    await handlers.join_room(peer, protocol.JoinRoom(room_code=" abc123 "))
    assert peer.steps == [
        "subscribe ABC123", "join", "room:joined", "follow mode", "seated", "publish joined to ABC123"
    ]  # fmt: skip
    assert peer.membership is not None
    _, asked = peer.did[1]
    assert asked == {
        "code": "ABC123",
        "user": BOB,
        "peer_id": ANY,
        "channel_name": "channel!me",
        "worker_id": "worker",
        "resumable": False,
        "sfu": "",
    }
    assert peer.membership.peer_id == "peer_me"
    assert peer.membership.roster == {"peer_other": "c!peer_other"}
    assert [known.id for known in peer.did[2].peers] == ["peer_other"]


async def test_a_stranger_does_not_join() -> None:
    refused = await refusal(
        handlers.join_room(FakePeer(user=None), protocol.JoinRoom(room_code="ABC123"))
    )
    assert (refused.code, refused.close) == ("authentication_required", 4401)


async def test_an_expired_token_ends_no_call_but_opens_no_door() -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=1)
    outside, inside = FakePeer(), in_room()
    outside.identity = inside.identity = Identity(user=BOB, expires_at=long_ago)
    refused = await refusal(handlers.join_room(outside, protocol.JoinRoom(room_code="ABC123")))
    assert (refused.code, refused.close) == ("token_expired", None)
    offer = protocol.WebrtcIce(target_peer_id="peer_other", candidate=Raw(b'""'))
    await handlers.relay(inside, offer)
    assert inside.steps == ["relay to peer_other"]


async def test_who_is_in_a_room_joins_no_other() -> None:
    peer = in_room()
    refused = await refusal(handlers.join_room(peer, protocol.JoinRoom(room_code="OTHER")))
    assert refused.code == "already_joined"
    assert peer.did == []
    assert peer.membership is not None
    assert peer.membership.room_code == "ABC123"


@pytest.mark.parametrize(
    "refused",
    [
        exceptions.RoomFull(limit=10, mode="p2p"),
        exceptions.RoomLocked(),
        exceptions.RoomClosed(),
        exceptions.Forbidden(),
        RuntimeError("a bug"),
    ],
)
async def test_who_is_not_let_in_hears_nothing_more_of_the_room(refused: Exception) -> None:
    peer = FakePeer()
    peer.results[services.join] = refused
    with pytest.raises(type(refused)) as raised:
        await handlers.join_room(peer, protocol.JoinRoom(room_code="ABC123"))
    assert raised.value is refused
    assert peer.membership is None
    assert peer.steps == ["subscribe ABC123", "join", "unsubscribe ABC123"]


async def test_a_code_of_no_form_asks_nobody() -> None:
    peer = FakePeer()
    with pytest.raises(exceptions.RoomNotFound):
        await handlers.join_room(peer, protocol.JoinRoom(room_code="no way"))
    assert peer.did == []


async def test_guesses_are_counted_for_the_user_and_for_the_address(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    guesser = FakePeer()
    guesser.results[services.join] = exceptions.RoomNotFound()
    with pytest.raises(exceptions.RoomNotFound):
        await handlers.join_room(guesser, protocol.JoinRoom(room_code="GUESS"))
    same_user = FakePeer()
    same_user.address = "192.0.2.2"
    for peer in (guesser, same_user, FakePeer(user=ALICE)):
        refused = await refusal(handlers.join_room(peer, protocol.JoinRoom(room_code="ABC123")))
        assert (refused.code, refused.close) == ("rate_limited", None)


async def test_a_full_room_is_no_guess(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1}
    peer = FakePeer()
    peer.results[services.join] = exceptions.RoomFull(limit=1, mode="p2p")
    for _ in range(3):
        with pytest.raises(exceptions.RoomFull):
            await handlers.join_room(peer, protocol.JoinRoom(room_code="ABC123"))


# --- leave:room -------------------------------------------------------------------------------


async def test_a_leave_is_written_then_told_then_unsubscribed() -> None:
    peer = in_room()
    peer.results[services.leave] = True
    await handlers.leave_room(peer, protocol.LeaveRoom())
    assert peer.membership is None
    assert peer.did == [
        ("leave", "peer_me", {"reason": "left", "epoch": 0}),
        ("publish left to ABC123", messages.left("ABC123", "peer_me", "left")),
        "unsubscribe ABC123",
    ]


async def test_only_who_ended_a_membership_tells_of_it() -> None:
    peer = in_room()
    peer.results[services.leave] = False
    await handlers.leave(peer, reason="disconnected")
    assert peer.steps == ["leave", "unsubscribe ABC123"]


async def test_leaving_twice_does_nothing() -> None:
    peer = in_room()
    peer.results[services.leave] = True
    await handlers.leave(peer, reason="left")
    done = list(peer.did)
    await handlers.leave(peer, reason="left")
    assert peer.did == done
    with pytest.raises(exceptions.NotInRoom):
        await handlers.leave_room(peer, protocol.LeaveRoom())


async def test_a_leave_without_a_database_unsubscribes_all_the_same() -> None:
    peer = in_room()
    peer.results[services.leave] = RuntimeError()
    with pytest.raises(RuntimeError):
        await handlers.leave(peer, reason="left")
    assert peer.steps == ["leave", "unsubscribe ABC123"]
    assert peer.membership is None


# --- webrtc:*, peer:update, ping --------------------------------------------------------------


async def test_a_relay_asks_no_database_and_names_its_sender() -> None:
    peer = in_room()
    event = protocol.WebrtcIce(target_peer_id="peer_other", candidate=Raw(b'"x"'))
    await handlers.relay(peer, event)
    assert peer.did == [
        (
            "relay to peer_other",
            '{"event":"webrtc:ice","data":{"targetPeerId":"peer_other","candidate":"x",'
            '"fromPeerId":"peer_me"}}',
        )
    ]


@pytest.mark.parametrize("target", ["peer_me", "peer_x", "", "channel!other"])
async def test_a_target_outside_the_roster_is_not_found(target: str) -> None:
    peer = in_room()
    event = protocol.WebrtcIce(target_peer_id=target, candidate=Raw(b'"x"'))
    assert (await refusal(handlers.relay(peer, event))).code == "peer_not_found"
    assert peer.did == []


async def test_an_update_is_remembered_before_it_is_told() -> None:
    peer = in_room()
    peer.results[services.update_participant] = None
    event = protocol.PeerUpdate(media=protocol.Media(audio=False), display_name="Bo")
    await handlers.peer_update(peer, event)
    changes: dict[str, Any] = {"media": {"audio": False}, "display_name": "Bo"}
    updated = protocol.PeerUpdated(peer_id="peer_me", **changes)
    assert peer.did == [
        ("update_participant", "peer_me", {"epoch": 0, **changes}),
        ("publish announcement to ABC123", messages.updated("ABC123", updated)),
    ]


async def test_an_update_that_is_refused_is_not_told() -> None:
    peer = in_room()
    peer.results[services.update_participant] = exceptions.NotInRoom()
    with pytest.raises(exceptions.NotInRoom):
        await handlers.peer_update(peer, protocol.PeerUpdate(display_name="Bo"))
    assert peer.steps == ["update_participant"]


async def test_a_ping_is_answered() -> None:
    peer = FakePeer()
    await handlers.ping(peer, protocol.Ping())
    assert peer.did == [protocol.Pong()]
