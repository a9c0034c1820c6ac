"""The handlers with a fake ``Peer``: without sockets, channel layer or database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import ANY

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from msgspec import Raw

from rooms import exceptions, names, services, user_info
from rooms.logs import RareWarning
from rooms.models import Participant, Room
from rooms.services import Joined
from signalling import protocol
from signalling.auth.identity import Identity, TokenRefused
from signalling.peers import handlers, messages
from signalling.peers.membership import Membership
from signalling.peers.messages import Announcement, RosterChange
from signalling.peers.port import P, T
from signalling.protocol import ProtocolError, ServerEvent

BOB = User(pk=2, username="bob")
ALICE = User(pk=1, username="alice")


class FakePeer:
    """Records the calls of a handler and returns prepared results."""

    def __init__(self, user: User | None = BOB, membership: Membership | None = None) -> None:
        self.identity = Identity(user=user) if user else None
        self.membership = membership
        self.address = "192.0.2.1"
        self.channel_name = "channel!me"
        self.calls: list[Any] = []
        self.results: dict[Callable[..., Any], Any] = {}
        self.tokens: dict[str, Identity] = {}

    async def answer(self, event: ServerEvent) -> None:
        self.calls.append(event)

    async def database(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.calls.append((getattr(function, "__name__", ""), *args, kwargs))
        result = self.results[function]
        if isinstance(result, Exception):
            raise result
        return cast(T, result)

    async def act(self, service: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        assert self.identity is not None
        act: Any = service
        result: T = await self.database(act, *args, user=self.identity.user, **kwargs)
        return result

    async def record(
        self,
        announce: Callable[[int], RosterChange],
        function: Callable[P, int],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> bool:
        version = await self.database(function, *args, **kwargs)
        if version:
            await self.publish(announce(version))
        return bool(version)

    async def seat(self, service: Callable[..., Joined], **arguments: Any) -> Joined:
        joined = await self.act(service, **arguments)
        assert self.membership is not None
        self.membership.adopt(joined)
        return joined

    async def register_worker(self) -> str:
        return "worker"

    async def take_over(self, channel: str) -> None:
        self.calls.append(f"take over {channel}")

    def restore(self, held: Any) -> None:
        self.calls.append(("restore", held))

    def expect_heartbeat(self) -> None:
        self.calls.append("expect heartbeat")

    async def identify(self, token: str) -> Identity:
        if token not in self.tokens:
            raise TokenRefused(protocol.ErrorCode.TOKEN_INVALID)
        return self.tokens[token]

    def seated(self) -> None:
        self.calls.append("seated")

    def follow_mode(self, claim: dict[str, int] | None) -> None:
        self.calls.append("follow mode")

    async def subscribe(self, room_code: str) -> None:
        self.calls.append(f"subscribe {room_code}")

    async def unsubscribe(self, room_code: str) -> None:
        self.calls.append(f"unsubscribe {room_code}")

    async def publish(self, message: RosterChange | Announcement) -> None:
        name = message["change"] if message["type"] == "signalling.roster" else "announcement"
        self.calls.append((f"publish {name} to {message['room']}", message))

    async def relay(self, target_peer_id: str, frame: str) -> None:
        self.calls.append((f"relay to {target_peer_id}", frame))

    @property
    def steps(self) -> list[str]:
        """The names of the calls, in order."""
        return [
            step if isinstance(step, str) else getattr(step, "event", None) or step[0]
            for step in self.calls
        ]


def in_room() -> FakePeer:
    """Return a peer in ABC123, with one other peer in its roster."""
    membership = Membership("ABC123", peer_id="peer_me", roster={"peer_other": "channel!other"})
    return FakePeer(membership=membership)


def participant(peer_id: str, user: User, room: Room) -> Participant:
    info = {"username": user.username}
    return Participant(
        pk=7, peer_id=peer_id, user=user, room=room, channel_name=f"c!{peer_id}", user_info=info
    )


async def refusal(call: Any) -> ProtocolError:
    """Return the ``ProtocolError`` that an awaitable raises."""
    with pytest.raises(ProtocolError) as refused:
        await call
    return refused.value


def test_every_client_event_has_a_handler() -> None:
    assert set(handlers.HANDLERS) == set(protocol.CLIENT_EVENTS.values())


# --- authenticate -----------------------------------------------------------------------------


async def test_a_valid_token_sets_the_identity() -> None:
    peer = FakePeer(user=None)
    expires_at = datetime(2030, 1, 1, tzinfo=UTC)
    peer.tokens["t"] = Identity(user=BOB, expires_at=expires_at)
    peer.results[user_info.describe] = {"username": "bob"}
    await handlers.authenticate(peer, protocol.Authenticate(token="t"))
    assert peer.identity is peer.tokens["t"]
    assert peer.calls[1:] == [
        protocol.Authenticated(
            user_info={"username": "bob"}, expires_at="2030-01-01T00:00:00+00:00"
        )
    ]


async def test_the_user_of_a_socket_cannot_change() -> None:
    peer = FakePeer(user=BOB)
    before = peer.identity
    peer.tokens["t"] = Identity(user=ALICE)
    refused = await refusal(handlers.authenticate(peer, protocol.Authenticate(token="t")))
    assert refused.code == "token_subject_mismatch"
    assert peer.identity is before


async def test_an_invalid_token_changes_nothing() -> None:
    peer = FakePeer(user=BOB)
    before = peer.identity
    refused = await refusal(handlers.authenticate(peer, protocol.Authenticate(token="x")))
    assert refused.code == "token_invalid"
    assert (peer.identity, peer.calls) == (before, [])


# --- join:room --------------------------------------------------------------------------------


async def test_a_join_subscribes_takes_a_seat_answers_and_announces_in_this_order() -> None:
    peer = FakePeer()
    room = Room(code="ABC123", host=ALICE)
    other = participant("peer_other", ALICE, room)
    peer.results[services.join] = Joined(
        room=room, participant=participant("peer_me", BOB, room), others=[other]
    )
    await handlers.join_room(peer, protocol.JoinRoom(room_code=" abc123 "))
    assert peer.steps == [
        "subscribe ABC123", "join", "room:joined", "follow mode", "seated", "publish joined to ABC123"
    ]  # fmt: skip
    assert peer.membership is not None
    _, arguments = peer.calls[1]
    assert arguments == {
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
    assert [known.id for known in peer.calls[2].peers] == ["peer_other"]


async def test_an_unauthenticated_peer_cannot_join() -> None:
    refused = await refusal(
        handlers.join_room(FakePeer(user=None), protocol.JoinRoom(room_code="ABC123"))
    )
    assert (refused.code, refused.close) == ("authentication_required", 4401)


async def test_an_expired_token_allows_relays_but_no_join() -> None:
    long_ago = datetime.now(UTC) - timedelta(seconds=1)
    outside, inside = FakePeer(), in_room()
    outside.identity = inside.identity = Identity(user=BOB, expires_at=long_ago)
    refused = await refusal(handlers.join_room(outside, protocol.JoinRoom(room_code="ABC123")))
    assert (refused.code, refused.close) == ("token_expired", None)
    offer = protocol.WebrtcIce(target_peer_id="peer_other", candidate=Raw(b'""'))
    await handlers.relay(inside, offer)
    assert inside.steps == ["relay to peer_other"]


async def test_a_peer_in_a_room_cannot_join_another() -> None:
    peer = in_room()
    refused = await refusal(handlers.join_room(peer, protocol.JoinRoom(room_code="OTHER")))
    assert refused.code == "already_joined"
    assert peer.calls == []
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
async def test_a_refused_join_is_unsubscribed_from_the_room(refused: Exception) -> None:
    peer = FakePeer()
    peer.results[services.join] = refused
    with pytest.raises(type(refused)) as raised:
        await handlers.join_room(peer, protocol.JoinRoom(room_code="ABC123"))
    assert raised.value is refused
    assert peer.membership is None
    assert peer.steps == ["subscribe ABC123", "join", "unsubscribe ABC123"]


async def test_a_malformed_code_is_refused_without_any_call() -> None:
    peer = FakePeer()
    with pytest.raises(exceptions.RoomNotFound):
        await handlers.join_room(peer, protocol.JoinRoom(room_code="no way"))
    assert peer.calls == []


# --- leave:room -------------------------------------------------------------------------------


async def test_a_leave_is_written_then_announced_then_unsubscribed() -> None:
    peer = in_room()
    peer.results[services.leave] = 7
    await handlers.leave_room(peer, protocol.LeaveRoom())
    assert peer.membership is None
    assert peer.calls == [
        ("leave", "peer_me", {"reason": "left", "epoch": 0}),
        ("publish left to ABC123", messages.left("ABC123", "peer_me", "left", 7)),
        "unsubscribe ABC123",
    ]


async def test_a_leave_that_ended_nothing_is_not_announced() -> None:
    peer = in_room()
    peer.results[services.leave] = 0
    await handlers.leave(peer, reason="disconnected")
    assert peer.steps == ["leave", "unsubscribe ABC123"]


async def test_a_second_leave_does_nothing() -> None:
    peer = in_room()
    peer.results[services.leave] = 7
    await handlers.leave(peer, reason="left")
    before = list(peer.calls)
    await handlers.leave(peer, reason="left")
    assert peer.calls == before
    with pytest.raises(exceptions.NotInRoom):
        await handlers.leave_room(peer, protocol.LeaveRoom())


async def test_a_leave_that_fails_in_the_database_still_unsubscribes() -> None:
    peer = in_room()
    peer.results[services.leave] = RuntimeError()
    with pytest.raises(RuntimeError):
        await handlers.leave(peer, reason="left")
    assert peer.steps == ["leave", "unsubscribe ABC123"]
    assert peer.membership is None


# --- webrtc:*, peer:update, ping --------------------------------------------------------------


async def test_a_relay_names_its_sender_without_a_database_call() -> None:
    peer = in_room()
    event = protocol.WebrtcIce(target_peer_id="peer_other", candidate=Raw(b'"x"'))
    await handlers.relay(peer, event)
    assert peer.calls == [
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
    assert peer.calls == []


async def test_an_update_is_written_before_it_is_announced() -> None:
    peer = in_room()
    stored = Participant(user_info={"username": "me", "displayName": "Bo"})
    peer.results[services.update_participant] = stored
    event = protocol.PeerUpdate(media=protocol.Media(audio=False), display_name=" Bo")
    await handlers.peer_update(peer, event)
    changes: dict[str, Any] = {"media": {"audio": False}, "display_name": "Bo"}
    keys = names.keys(stored.user_info)
    updated = protocol.PeerUpdated(peer_id="peer_me", **changes, name_keys=keys)
    assert peer.calls == [
        ("update_participant", "peer_me", {"epoch": 0, **changes}),
        ("publish announcement to ABC123", messages.updated("ABC123", updated)),
    ]


async def test_a_refused_update_is_not_announced() -> None:
    peer = in_room()
    peer.results[services.update_participant] = exceptions.NotInRoom()
    with pytest.raises(exceptions.NotInRoom):
        await handlers.peer_update(peer, protocol.PeerUpdate(display_name="Bo"))
    assert peer.steps == ["update_participant"]


async def test_a_refused_display_name_names_its_path() -> None:
    peer = in_room()
    with pytest.raises(exceptions.DisplayNameInvalid) as refused:
        await handlers.peer_update(peer, protocol.PeerUpdate(display_name="\u200b"))
    assert (refused.value.code, refused.value.details) == (
        "bad_request",
        {"path": "$.data.displayName"},
    )
    assert peer.calls == []


async def test_a_ping_is_answered() -> None:
    peer = FakePeer()
    await handlers.ping(peer, protocol.Ping())
    assert peer.calls == [protocol.Pong()]


async def test_an_outage_that_ends_many_sockets_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handlers, "_unannounced", RareWarning(handlers.logger, "Left: %s %r"))
    for _ in range(3):
        peer = in_room()
        peer.results[services.leave] = OperationalError("the database is unavailable")
        await handlers.leave_quietly(cast(Any, peer), reason="left")
    assert len(caplog.messages) == 1
