"""Channel-layer messages of another build: no socket closes, and each is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.models import User

from rooms.models import Room
from signalling import metrics
from tests.signalling.consumers.helpers import CANDIDATE, channel_of, send_to_channel
from tests.signalling.consumers.test_layer_messages import roster_change
from tests.signalling.sockets import AppSocket, in_room

pytestmark = pytest.mark.django_db(transaction=True)

UNKNOWN: list[dict[str, Any]] = [
    {"type": "signalling.relay.2", "target": "peer_x", "frames": []},
    {"type": "room.reactions"},
]
MALFORMED: list[dict[str, Any]] = [
    {},
    {"type": None},
    {"type": ["signalling.relay"]},
    {"type": "signalling.roster"},
    {"type": "signalling.roster", "room": "ABC123", "peer_id": 5, "change": "joined"},
    {"type": "signalling.announcement"},
    {"type": "signalling.closed"},
    {"type": "signalling.removed"},
    {"type": "signalling.mode", "room": "ABC123", "mode": "sfu", "surplus": 7},
    {"type": "signalling.takeover"},
    {"type": "channel.lost"},
]


@pytest.fixture
def ignored(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts: Counter[str] = Counter()
    monkeypatch.setattr(metrics.ignored, "counts", counts)
    return counts


async def send_all(socket: AppSocket, messages: list[dict[str, Any]]) -> None:
    channel = await channel_of(socket)
    for message in messages:
        await send_to_channel(channel, message)


@pytest.mark.parametrize(
    ("messages", "reason"), [(UNKNOWN, "unknown_type"), (MALFORMED, "malformed")]
)
async def test_foreign_messages_are_ignored_and_counted(
    room: Room,
    alice: User,
    bob: User,
    ignored: Counter[str],
    messages: list[dict[str, Any]],
    reason: str,
) -> None:
    async with in_room(alice, bob) as (first, second):
        await send_all(first, messages)
        await first.receive_nothing()
        assert ignored == {reason: len(messages)}
        relay = {"targetPeerId": first.peer_id, "candidate": CANDIDATE}
        assert (await second.request("webrtc:ice", relay))["event"] == "ack"
        await first.receive("webrtc:ice")


async def test_a_relay_without_its_number_is_ignored(
    room: Room, alice: User, bob: User, ignored: Counter[str]
) -> None:
    async with in_room(alice, bob) as (first, second):
        message = {"type": "signalling.relay", "target": first.peer_id, "frame": "{}"}
        await send_all(first, [message, {**message, "sender": second.peer_id}])
        await first.receive_nothing()
        assert ignored == {"malformed": 2}


async def test_fields_that_a_later_build_has_added_are_ignored(
    room: Room, alice: User, bob: User, ignored: Counter[str]
) -> None:
    async with in_room(alice, bob) as (first, second):
        await send_all(first, [{**roster_change("left", second.peer_id), "version": 99}])
        await first.receive("peer:left")
        assert not ignored


async def test_a_flood_of_foreign_messages_is_logged_once(
    room: Room, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    metrics.ignored._log_at.clear()
    async with in_room(alice) as (socket,):
        await send_all(socket, UNKNOWN * 50)
    assert caplog.text.count("unknown type") == 1
