"""The steps of ``join:room`` that depend on a resume or an SFU, with a fake ``Peer``."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from msgspec import UNSET
from pytest_django import Settings

from rooms import resuming, services
from rooms.exceptions import SfuRequired
from rooms.models import Participant, Room
from rooms.services import Joined, ResumeState
from signalling import protocol, sfu
from signalling.peers import handlers, joining
from signalling.protocol.errors import unavailable
from signalling.sfu.mode import MESH, Mode
from tests.signalling.peers.test_handlers import ALICE, BOB, FakePeer, participant, refusal

HELD = {"frames": [], "sent": {}, "received": {}, "gap": False}


def joined(**fields: Any) -> Joined:
    room = Room(code="ABC123", host=ALICE)
    me = participant("peer_me", BOB, room)
    return Joined(**{"room": room, "participant": me, "others": [], **fields})


async def resume(state: ResumeState) -> FakePeer:
    """Resume with a token; return the peer."""
    peer = FakePeer()
    peer.results[resuming.resume] = joined(resumed=state, resume_token="next")
    event = protocol.JoinRoom(room_code="ABC123", resume_token="t", resumable=True)
    await handlers.join_room(peer, event)
    return peer


@pytest.mark.parametrize(
    ("state", "step"),
    [
        (ResumeState(previous_channel="c!before", held=None, gap=False), ["take over c!before"]),
        (ResumeState(previous_channel="c!before", held=HELD, gap=False), ["take over c!before"]),
        (ResumeState(previous_channel=None, held=HELD, gap=False), ["restore"]),
        (ResumeState(previous_channel=None, held=None, gap=True), []),
    ],
)
async def test_a_peer_that_resumes_fetches_its_frames_before_the_answer(
    state: ResumeState, step: list[str]
) -> None:
    peer = await resume(state)
    assert peer.steps == [
        "subscribe ABC123",
        "resume",
        *step,
        "expect heartbeat",
        "room:joined",
        "follow mode",
        "seated",
        "publish back to ABC123",
    ]
    answer = peer.calls[peer.steps.index("room:joined")]
    assert (answer.resumed, answer.resume_token, answer.gap) == (True, "next", state.gap)
    assert peer.calls[1][-1].keys() == {"code", "user", "channel_name", "worker_id", "token"}


async def test_a_peer_that_the_others_do_not_know_has_to_join_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = FakePeer()

    async def publish(message: Any) -> None:
        raise unavailable()

    monkeypatch.setattr(peer, "publish", publish)
    refused = await refusal(joining.announce(peer, joined()))
    assert (refused.code, refused.close) == ("unavailable", 4503)


@pytest.mark.parametrize("token", [None, "t"])
async def test_only_an_answer_with_a_token_has_a_window(
    token: str | None, settings: Settings
) -> None:
    settings.SIGNALLING = {"RESUME_WINDOW": 20}
    answer = joining.room_joined(joined(resume_token=token), MESH, gap=False)
    expected = (UNSET, UNSET) if token is None else ("t", 20)
    assert (answer.resume_token, answer.resume_window) == expected


async def test_the_answer_names_the_peers_that_receive_through_the_sfu() -> None:
    room = Room(code="ABC123", host=ALICE, mode=Room.Mode.SFU, mode_version=3)
    others = [participant(f"peer_{number}", ALICE, room) for number in range(2)]
    for other, version in zip(others, (2, 3), strict=True):
        other.sfu_state, other.sfu_version = Participant.SfuState.RECEIVING, version
    answer = joining.room_joined(joined(room=room, others=others), MESH, gap=False)
    assert [peer.path for peer in answer.peers] == [UNSET, "sfu"]


@pytest.mark.parametrize("route", [None, {"provider": "livekit"}])
def test_the_answer_has_the_route_to_the_sfu(route: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "route", lambda *arguments: route)
    answer = joining.room_joined(joined(), Mode("sfu", 1, False, "a", 50), gap=False)
    assert answer.sfu == (UNSET if route is None else route)


@pytest.mark.parametrize("is_required", [True, False])
async def test_a_healthy_sfu_is_looked_for_only_if_the_room_requires_one(
    is_required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sfus = Mock(first_healthy=AsyncMock(return_value="healthy"))
    monkeypatch.setattr(sfu, "get_sfus", lambda: sfus)
    peer, asked = FakePeer(), []

    async def seat(service: Any, **arguments: Any) -> Joined:
        asked.append((service, arguments["sfu"]))
        if is_required and arguments["sfu"] is None:
            raise SfuRequired
        return joined()

    monkeypatch.setattr(peer, "seat", seat)
    assert peer.identity is not None
    await joining.take_seat(peer, peer.identity, protocol.JoinRoom(room_code="ABC123"))
    retried = [(services.join, "healthy")] if is_required else []
    assert asked == [(services.join, None), *retried]
