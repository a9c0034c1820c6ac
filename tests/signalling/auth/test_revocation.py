"""The queries of a sweep: how many there are, and what they find."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.cache import SessionStore as CacheStore
from django.contrib.sessions.backends.db import SessionStore
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from rooms import admission
from rooms.digests import digest
from signalling.auth import revocation, sessions
from signalling.auth.canary import Canary
from signalling.auth.identity import Identity
from signalling.auth.sessions import SessionCredential
from signalling.protocol import ProtocolError
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


def test_a_column_that_proves_nothing_changes_no_fingerprint(users: list[User]) -> None:
    known = {user.pk: revocation.fingerprint(user) for user in User.objects.all()}
    User.objects.update(first_name="Ann", date_joined=timezone.now())
    assert revocation.find_changed(known) == {}


def test_all_columns_count_for_a_user_model_with_rules_of_its_own(
    users: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "get_session_auth_hash", lambda user: user.email, raising=False)
    known = {user.pk: revocation.fingerprint(user) for user in User.objects.all()}
    User.objects.filter(username="ann").update(email="ann@example.org")
    assert set(revocation.find_changed(known)) == {users[0].pk}


@pytest.mark.parametrize("columns", [["username"], ["username", "password"]])
def test_a_fingerprint_reads_no_deferred_column(users: list[User], columns: list[str]) -> None:
    deferred = User.objects.only(*columns).get(username="ann")
    with statements() as sent:
        assert revocation.fingerprint(deferred) == 0
    assert not sent
    assert set(revocation.find_changed({deferred.pk: 0})) == {deferred.pk}


def test_values_that_cannot_be_hashed_have_fingerprints() -> None:
    assert revocation._hash([{"a": 1}]) == revocation._hash([{"a": 1}])
    assert revocation._hash([{"a": 1}]) != revocation._hash([{"a": 2}])


def check(identity: Identity, room_code: str | None = "ABC123") -> str | None:
    (error,) = revocation.check_all([(identity, room_code)])
    return str(error.code) if error else None


def test_an_identity_that_may_not_stay_is_excluded_from_its_room_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = Identity(user=User())
    monkeypatch.setattr(admission, "may_stay", lambda code, user: user is not identity.user)
    assert check(identity) == "forbidden"
    assert check(identity, None) is None
    assert check(Identity(user=User())) is None


def test_a_check_that_fails_closes_no_socket(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admission, "may_stay", Mock(side_effect=ZeroDivisionError))
    assert check(Identity(user=User())) is None
    assert "Could not check an identity" in caplog.text
    monkeypatch.setattr(admission, "may_stay", Mock(side_effect=OperationalError))
    with pytest.raises(OperationalError):
        check(Identity(user=User()))


def test_an_expired_session_closes_no_socket_and_a_revoked_one_does(bob: User) -> None:
    past, future = (timezone.now() + timedelta(days=days) for days in (-1, 1))
    expired, revoked = (SessionCredential("none", bob.pk, day) for day in (past, future))
    assert check(Identity(user=bob, credential=expired)) is None
    assert check(Identity(user=bob, credential=revoked)) == "token_revoked"


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
    with pytest.raises(ProtocolError) as refused:
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


# --- Sessions in a cache ----------------------------------------------------------------------


@pytest.fixture
def cached(settings: Settings, bob: User, monkeypatch: pytest.MonkeyPatch) -> list[Identity]:
    """Three identities of sessions in a cache."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    monkeypatch.setattr(sessions, "canary", Canary())
    found = []
    for _ in range(3):
        client = Client()
        client.force_login(bob)
        identity = sessions.identify(client.cookies["sessionid"].value)
        assert identity is not None
        found.append(identity)
    return found


def lost(identities: list[Identity]) -> list[SessionCredential]:
    return sessions.find_lost([cast(SessionCredential, one.credential) for one in identities])


def test_a_cache_that_lost_one_session_has_revoked_it(cached: list[Identity]) -> None:
    credential = cast(SessionCredential, cached[0].credential)
    CacheStore(credential.key).delete()
    assert lost(cached) == [credential]
    assert refusal(credential) == ("token_revoked", True)


@pytest.mark.parametrize("is_read_first", [False, True])
def test_a_cache_that_lost_everything_has_revoked_nothing(
    cached: list[Identity], is_read_first: bool, bob: User
) -> None:
    cache.clear()
    held = [cast(SessionCredential, one.credential) for one in cached]
    for _ in range(2):
        if is_read_first:
            assert [refusal(one) for one in held] == [("token_expired", False)] * 3
        assert lost(cached) == []
    bob.set_password("another horse")
    bob.save()
    assert refusal(held[0]) == ("token_revoked", True)


@pytest.mark.parametrize("is_hidden", [False, True])
def test_an_outage_of_the_cache_revokes_nothing(
    cached: list[Identity], is_hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        if is_hidden:
            return None
        raise ConnectionError("the cache is unavailable")

    def get_many(*args: Any, **kwargs: Any) -> Any:
        return fail() or {}

    held = [cast(SessionCredential, one.credential) for one in cached]
    with monkeypatch.context() as outage:
        for name in ("get", "set", "set_many"):
            outage.setattr(LocMemCache, name, fail)
        outage.setattr(LocMemCache, "get_many", get_many)
        assert lost(cached) == []
        assert refusal(held[0]) == ("token_expired" if is_hidden else "unavailable", False)
        key = held[0].key
        if is_hidden:
            assert sessions.identify(key) is None
        else:
            with pytest.raises(ProtocolError) as refused:
                sessions.identify(key)
            assert refused.value.code == "unavailable"
            assert revocation.check_all([(cached[0], None)]) == [None]
    assert lost(cached) == []
    assert held[0].read_user() == cached[0].user
    CacheStore(held[0].key).delete()
    assert lost(cached) == [held[0]]
