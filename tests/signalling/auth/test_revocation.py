"""The queries of a sweep: how many there are, and what they find."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from rooms.digests import digest
from signalling.auth import revocation, sessions
from signalling.auth.sessions import SessionCredential
from signalling.auth.tokens import Identity, TokenRefused
from tests.conftest import statements

pytestmark = pytest.mark.django_db


@pytest.fixture
def users() -> list[User]:
    names = ("ann", "ben", "cat", "dan", "eve")
    return User.objects.bulk_create([User(username=name) for name in names])


def test_a_sweep_has_one_query_for_each_chunk_of_users(
    users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {user.pk: revocation.fingerprint(user) for user in User.objects.all()}
    with statements() as one_chunk:
        assert revocation.find_changed(known) == {}
    assert len(one_chunk) == 1
    monkeypatch.setattr(revocation, "CHUNK", 2)
    with statements() as three_chunks:
        assert revocation.find_changed(known) == {}
    assert len(three_chunks) == 3
    User.objects.filter(username="eve").update(is_staff=True)
    User.objects.filter(username="ann").delete()
    changed = revocation.find_changed(known)
    assert set(changed) == {users[0].pk, users[4].pk}
    assert changed[users[0].pk] is None


def test_a_sign_in_changes_no_fingerprint(users: list[User]) -> None:
    known = {user.pk: revocation.fingerprint(user) for user in User.objects.all()}
    User.objects.update(last_login=timezone.now())
    assert revocation.find_changed(known) == {}


def test_values_that_cannot_be_hashed_have_fingerprints() -> None:
    assert revocation._hash([{"a": 1}]) == revocation._hash([{"a": 1}])
    assert revocation._hash([{"a": 1}]) != revocation._hash([{"a": 2}])


def credentials(count: int, lifetime: timedelta = timedelta(days=1)) -> list[SessionCredential]:
    found = []
    for _ in range(count):
        session = SessionStore()
        session.create()
        found.append(SessionCredential(str(session.session_key), 1, timezone.now() + lifetime))
    return found


def test_a_sweep_has_one_query_for_each_chunk_of_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = credentials(5)
    SessionStore(held[4].key).delete()
    with statements() as one_chunk:
        assert sessions.find_lost(held) == [held[4]]
    assert len(one_chunk) == 1
    monkeypatch.setattr(sessions, "CHUNK", 2)
    with statements() as three_chunks:
        assert sessions.find_lost(held) == [held[4]]
    assert len(three_chunks) == 3
    assert held[0].expires_at > timezone.now() + timedelta(days=13)  # from its row


@pytest.mark.parametrize("engine", ["db", "cache", "file"])
def test_a_session_that_has_expired_is_not_lost(engine: str, settings: Settings) -> None:
    expired = credentials(1, lifetime=timedelta(seconds=30))
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    SessionStore(expired[0].key).delete()
    assert sessions.find_lost(expired) == []


def refusal(credential: SessionCredential) -> tuple[str, bool]:
    """Return the code with which a session is refused, and whether its socket is closed."""
    identity = Identity(user=User(pk=credential.user_id), credential=credential)
    with pytest.raises(TokenRefused) as refused:
        revocation.read_user(identity)
    return str(refused.value.code), refused.value.close is not None


def test_the_code_tells_why_a_session_proves_nothing(bob: User) -> None:
    client = Client()
    client.force_login(bob)
    key = client.cookies["sessionid"].value
    past, future = (timezone.now() + timedelta(days=days) for days in (-1, 1))
    signed_out = SessionCredential(key, bob.pk, past, is_signed_out=True)
    assert refusal(signed_out) == ("token_revoked", True)
    missing = SessionCredential("none", bob.pk, future)
    assert refusal(missing) == ("token_revoked", True)
    expired = SessionCredential("none", bob.pk, past)
    assert refusal(expired) == ("token_expired", False)
    extended = SessionCredential(key, bob.pk, past)
    assert extended.read_user() == bob
    bob.set_password("another horse")
    bob.save()
    assert refusal(extended) == ("token_revoked", True)
    User.objects.update(is_active=False)
    for credential in (extended, expired, signed_out):
        assert refusal(credential) == ("user_inactive", True)
    bob.delete()
    assert refusal(extended) == ("token_revoked", True)


def test_an_engine_without_a_query_is_asked_for_some_sessions(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    monkeypatch.setattr(sessions, "LOOK_UPS", 2)
    assert len(sessions.find_lost(credentials(5))) == 2


def test_only_the_credential_of_the_former_key_follows() -> None:
    first, second = credentials(2)
    for credential in (first, second):
        credential.follow(digest(first.key), "new")
    assert first.key == "new"
    assert second.key != "new"
