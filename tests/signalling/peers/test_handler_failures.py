"""The handlers when a token has expired, and when a membership ends badly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import Mock, call

import pytest
from django.db import OperationalError

from rooms import services, user_info
from rooms.logs import RareWarning
from rooms.models import Room
from rooms.services import Joined
from signalling import protocol
from signalling.auth.identity import Identity, TokenRefused
from signalling.peers import handlers
from signalling.protocol import CloseCode, ErrorCode
from tests.signalling.peers.test_handlers import ALICE, BOB, FakePeer, in_room, participant, refusal


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("code", [ErrorCode.TOKEN_EXPIRED, ErrorCode.TOKEN_REVOKED])
async def test_a_renewal_with_an_expired_token_does_not_end_a_call(
    is_known: bool, code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = FakePeer(user=BOB if is_known else None)

    async def identify(token: str) -> Identity:
        raise TokenRefused(code)

    monkeypatch.setattr(peer, "identify", identify)
    refused = await refusal(handlers.authenticate(peer, protocol.Authenticate(token="t")))
    assert refused.code == code
    goes_on = is_known and code == ErrorCode.TOKEN_EXPIRED
    assert refused.close == (None if goes_on else CloseCode.AUTHENTICATION)


async def test_a_renewed_token_counts_for_the_membership() -> None:
    peer = in_room()
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    peer.tokens["t"] = Identity(user=BOB, expires_at=expires_at)
    peer.results[user_info.describe] = {"username": "bob"}
    await handlers.authenticate(peer, protocol.Authenticate(token="t"))
    assert peer.membership is not None
    assert peer.membership.identity is peer.tokens["t"]


async def test_a_peer_that_is_removed_at_once_is_not_announced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A removal may have waited for the answer to its join."""
    peer = FakePeer()
    room = Room(code="ABC123", host=ALICE)
    peer.results[services.join] = Joined(
        room=room, participant=participant("peer_me", BOB, room), others=[]
    )
    monkeypatch.setattr(peer, "seated", lambda: setattr(peer, "membership", None))
    await handlers.join_room(peer, protocol.JoinRoom(room_code="ABC123"))
    assert peer.steps == ["subscribe ABC123", "join", "room:joined", "follow mode"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [(True, call.close()), (False, call.release()), (RuntimeError("a bug"), call.release())],
)
async def test_only_a_leave_that_ended_the_membership_closes_the_connections(
    result: Any, expected: Any
) -> None:
    """Otherwise another socket may have them."""
    peer, link = in_room(), Mock()
    assert peer.membership is not None
    peer.membership.link = link
    peer.results[services.leave] = result
    await handlers.leave_quietly(cast(Any, peer), reason="left")
    assert link.mock_calls == [expected]
    assert peer.steps == [
        "leave",
        *(["publish left to ABC123"] if result is True else []),
        "unsubscribe ABC123",
    ]


@pytest.mark.parametrize(
    ("error", "has_traceback"), [(OperationalError("away"), False), (RuntimeError("a bug"), True)]
)
async def test_only_a_bug_in_a_leave_is_logged_with_its_traceback(
    error: Exception,
    has_traceback: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("_unannounced", "_failed_leave"):
        text = "Left: %s %r" if name == "_unannounced" else "Left: %s"
        monkeypatch.setattr(handlers, name, RareWarning(handlers.logger, text))
    peer = in_room()
    peer.results[services.leave] = error
    await handlers.leave_quietly(cast(Any, peer), reason="left")
    (record,) = caplog.records
    assert record.getMessage().startswith("Left: 192.0.2.1")
    assert bool(record.exc_info) is has_traceback
