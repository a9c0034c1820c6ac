"""The expiry of a connected client's token, with ``TOKEN_EXPIRY`` ``"keep"`` and ``"close"``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast
from unittest.mock import AsyncMock

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from pytest_django import Settings
from rest_framework_simplejwt.tokens import AccessToken

from rooms.models import Room
from signalling.auth.identity import Identity, TokenRefused
from signalling.conf import SignallingSettings
from signalling.peers import authentication
from signalling.peers.authentication import Authentication
from signalling.peers.membership import Membership
from signalling.protocol import CloseCode
from tests.signalling.consumers.conftest import Configure, configure
from tests.signalling.sockets import AppSocket

__all__ = ["configure"]

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Socket:
    """The peer, the timers and the replies of one socket, at a time that the test sets."""

    def __init__(self, expiry: Literal["keep", "close"], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        self.identity: Identity | None = None
        self.membership: Membership | None = None
        self.timers: dict[Callable[[], None], float] = {}
        self.sent: list[Any] = []
        settings = SignallingSettings(token_expiry=expiry)
        me = cast(Any, self)
        self.authentication = Authentication(settings, me, me, me)
        clock = type("Clock", (datetime,), {"now": staticmethod(lambda zone: self.now)})
        monkeypatch.setattr(authentication, "datetime", clock)

    def start(self, seconds: float, function: Callable[[], None]) -> None:
        self.timers[function] = seconds

    def cancel(self, function: Callable[[], None]) -> None:
        self.timers.pop(function, None)

    def write(self, frame: str) -> None:
        self.sent.append(msgspec.json.decode(frame))

    def send_error(self, error: TokenRefused) -> None:
        self.sent.append((error.code, error.close))

    def issue(self, seconds: float, *, age: float = 0.0) -> None:
        """Adopt a token that was issued ``age`` seconds ago, and check it."""
        issued_at = self.now - timedelta(seconds=age)
        expires_at = issued_at + timedelta(seconds=seconds)
        self.identity = Identity(user=User(), issued_at=issued_at, expires_at=expires_at)
        self.authentication.check_expiry()

    def wait(self) -> float:
        """Let the timer expire; return how many seconds it took."""
        ((function, seconds),) = self.timers.items()
        self.timers.clear()
        self.now += timedelta(seconds=seconds)
        function()
        return seconds


@pytest.fixture
def socket(monkeypatch: pytest.MonkeyPatch) -> Socket:
    socket = Socket("close", monkeypatch)
    socket.membership = Membership("ABC123", is_seated=True)
    return socket


EXPIRED = ("token_expired", CloseCode.AUTHENTICATION)


def test_a_client_is_warned_at_80_percent_and_closed_at_the_expiry(socket: Socket) -> None:
    socket.issue(600)
    assert socket.wait() == 480
    expires_at = (NOW + timedelta(seconds=600)).isoformat()
    assert socket.sent == [{"event": "token:expiring", "data": {"expiresAt": expires_at}}]
    assert socket.wait() == 120
    assert socket.sent[1:] == [EXPIRED]
    assert not socket.timers


def test_a_client_is_closed_after_the_leeway(socket: Socket, settings: Settings) -> None:
    settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, "LEEWAY": 30}
    socket.issue(600)
    assert socket.wait() == 480
    expires_at = (NOW + timedelta(seconds=600)).isoformat()
    assert socket.sent == [{"event": "token:expiring", "data": {"expiresAt": expires_at}}]
    socket.issue(600, age=480)
    assert socket.wait() == 120 + 30
    assert socket.sent[1:] == [EXPIRED]


def test_a_renewed_token_is_warned_about_again(socket: Socket) -> None:
    socket.issue(600)
    socket.wait()
    socket.issue(600)
    assert socket.wait() == 480
    assert socket.wait() == 120
    assert [frame == EXPIRED for frame in socket.sent] == [False, False, True]


def test_a_client_that_presents_the_same_token_is_warned_once(socket: Socket) -> None:
    socket.issue(600)
    socket.wait()
    for _ in range(3):
        socket.issue(600, age=480)
    assert len(socket.sent) == 1
    assert socket.wait() == 120
    assert socket.sent[1:] == [EXPIRED]


async def test_a_token_that_could_not_be_checked_leaves_the_deadline(
    socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = AsyncMock(side_effect=OperationalError("the database is unavailable"))
    monkeypatch.setattr(authentication, "identify_token", failing)
    socket.authentication.begin()
    with pytest.raises(OperationalError):
        await socket.authentication.identify("token", "192.0.2.1")
    assert socket.wait() == SignallingSettings().authentication_timeout
    assert socket.sent == [("authentication_required", CloseCode.AUTHENTICATION)]


@pytest.mark.parametrize("expiry", ["keep", "close"])
async def test_a_token_that_was_checked_replaces_the_deadline(
    expiry: Literal["keep", "close"], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = Socket(expiry, monkeypatch)
    socket.authentication.begin()
    proved = Identity(user=User(), issued_at=NOW, expires_at=NOW + timedelta(seconds=600))
    monkeypatch.setattr(authentication, "identify_token", AsyncMock(return_value=proved))
    assert await socket.authentication.identify("token", "192.0.2.1") is proved
    socket.identity = proved
    if expiry == "close":
        assert [socket.wait(), socket.wait()] == [0, 480]
    else:
        assert not socket.timers


async def test_a_wrong_token_of_an_authenticated_client_starts_no_deadline(
    socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket.identity = Identity(user=User())
    socket.authentication.begin()
    failing = AsyncMock(side_effect=OperationalError("the database is unavailable"))
    monkeypatch.setattr(authentication, "identify_token", failing)
    with pytest.raises(OperationalError):
        await socket.authentication.identify("token", "192.0.2.1")
    assert not socket.timers


def test_the_token_of_the_handshake_expires(socket: Socket) -> None:
    expires_at = NOW + timedelta(seconds=600)
    socket.identity = Identity(user=User(), issued_at=NOW, expires_at=expires_at)
    socket.authentication.begin()
    assert socket.wait() == 480


def test_a_token_that_was_renewed_without_notice_is_found_at_the_timer(socket: Socket) -> None:
    socket.issue(600)
    later = NOW + timedelta(seconds=2000)
    socket.identity = Identity(user=User(), issued_at=NOW, expires_at=later)
    assert socket.wait() == 480
    assert socket.sent == []
    assert socket.wait() == 1600 - 480


def test_a_client_outside_a_room_is_warned_once_it_is_in_one(socket: Socket) -> None:
    membership, socket.membership = socket.membership, None
    socket.issue(600, age=500)
    assert socket.sent == []
    socket.membership = membership
    socket.authentication.check_expiry()
    socket.authentication.check_expiry()
    assert [frame["event"] for frame in socket.sent] == ["token:expiring"]
    socket.wait()
    assert socket.sent[-1] == EXPIRED


def test_nothing_comes_before_the_answer_to_the_join(socket: Socket) -> None:
    socket.membership = Membership("ABC123")
    socket.issue(600, age=500)
    assert socket.sent == []


def test_a_session_and_the_default_need_no_timer(
    socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket.identity = Identity(user=User())
    socket.authentication.check_expiry()
    kept = Socket("keep", monkeypatch)
    kept.issue(600, age=590)
    assert (socket.timers, socket.sent, kept.timers, kept.sent) == ({}, [], {}, [])


# --- The whole application --------------------------------------------------------------------


def short_token(user: User) -> str:
    """Return a token that expires within two seconds, and is past 80 % of its lifetime."""
    token = AccessToken.for_user(user)
    token.set_iat(at_time=datetime.now(UTC) - timedelta(seconds=60))
    token.set_exp(lifetime=timedelta(seconds=2))
    return str(token)


@pytest.mark.django_db(transaction=True)
async def test_a_call_ends_with_a_token_that_is_not_renewed(
    room: Room, bob: User, configure: Configure
) -> None:
    configure(TOKEN_EXPIRY="close")
    socket = AppSocket(headers={"authorization": f"Bearer {short_token(bob)}"})
    await socket.connect()
    await socket.join()
    warning = await socket.receive("token:expiring")
    assert datetime.fromisoformat(warning["expiresAt"]) > datetime.now(UTC)
    await socket.receive_error("token_expired")
    assert await socket.receive_close() == 4401
    await socket.disconnect(1006)


@pytest.mark.django_db(transaction=True)
async def test_a_token_in_a_frame_expires_too(bob: User, configure: Configure) -> None:
    configure(TOKEN_EXPIRY="close")
    socket = AppSocket()
    await socket.connect()
    await socket.request("authenticate", {"token": short_token(bob)})
    await socket.receive_error("token_expired")
    assert await socket.receive_close() == 4401
    await socket.disconnect(1006)
