"""Credentials of sessions, without the database."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY
from django.utils import timezone
from pytest_django import Settings

from signalling.auth import sessions
from signalling.auth.identity import TokenRefused
from signalling.auth.sessions import SessionCredential
from signalling.protocol import ErrorCode

HOUR = timedelta(hours=1)


class Backend:
    """A backend of a site whose users have no session hash."""

    def get_user(self, user_id: int) -> Any:
        return SimpleNamespace(pk=user_id) if user_id == 7 else None


@pytest.mark.parametrize(("user_id", "is_found"), [("7", True), ("8", False)])
def test_a_user_without_a_session_hash_is_found(
    user_id: str, is_found: bool, settings: Settings
) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Backend"]
    session = {SESSION_KEY: user_id, BACKEND_SESSION_KEY: f"{__name__}.Backend"}
    user = sessions.find_user(session)
    assert (user is not None) is is_found


def test_no_log_line_shows_a_key_or_a_hash() -> None:
    credential = SessionCredential("key", 2, timezone.now(), auth_hash="hash")
    assert "'key'" not in repr(credential)
    assert "'hash'" not in repr(credential)


def test_each_socket_has_a_credential_of_its_own() -> None:
    now = timezone.now()
    credentials = {SessionCredential("key", 2, now, seen_at=1.0) for _ in range(2)}
    assert len(credentials) == 2


@pytest.mark.parametrize(
    ("session", "is_signed_out", "code"),
    [
        ({}, False, ErrorCode.TOKEN_EXPIRED),
        ({}, True, ErrorCode.TOKEN_REVOKED),
        ({SESSION_KEY: "8"}, False, ErrorCode.TOKEN_REVOKED),  # another user has it now
    ],
)
def test_only_an_expired_session_may_just_be_gone(
    session: dict[str, str], is_signed_out: bool, code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = SimpleNamespace(is_active=True, password="hash", pk=7)
    manager = SimpleNamespace(filter=lambda **query: SimpleNamespace(first=lambda: user))
    model = SimpleNamespace(_base_manager=manager)
    monkeypatch.setattr(sessions, "get_user_model", lambda: model)
    monkeypatch.setattr(sessions, "_store", lambda: lambda key: session)
    monkeypatch.setattr(sessions, "_cache", lambda: None)
    monkeypatch.setattr(sessions, "find_user", lambda session: None)
    past = timezone.now() - HOUR
    credential = SessionCredential("key", 7, past, is_signed_out=is_signed_out)
    with pytest.raises(TokenRefused) as refused:
        credential.read_user()
    assert refused.value.code == code
