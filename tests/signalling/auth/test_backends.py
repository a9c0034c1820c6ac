"""Guesses at passwords, through pages, the admin and the REST API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import Context
from typing import Any

import pytest
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.test import AsyncRequestFactory, Client, RequestFactory
from pytest_django import Settings
from rest_framework.test import APIClient

from signalling.auth import backends, hashing
from signalling.auth.hashing import FairQueue
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stopped_time")]

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def strict(settings: Settings) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2}


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return a list of the names of the threads that hash passwords, one for each hash."""
    threads: list[str] = []
    encode = MD5PasswordHasher.encode

    def recorded(self: MD5PasswordHasher, *args: Any, **kwargs: Any) -> str:
        threads.append(threading.current_thread().name)
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(MD5PasswordHasher, "encode", recorded)
    return threads  # type: ignore[return-value]


def sign_in(password: str, username: str = "bob", address: str = HERE) -> Any:
    request = RequestFactory(REMOTE_ADDR=address).post("/login/")
    return authenticate(request, username=username, password=password)


def fail(times: int, username: str = "bob", address: str = HERE) -> None:
    for _ in range(times):
        assert sign_in("wrong", username, address) is None


def is_refused(password: str, username: str = "bob", address: str = HERE) -> bool:
    try:
        sign_in(password, username, address)
    except ValidationError as refusal:
        return refusal.code == "rate_limited"
    return False


# --- The limits -------------------------------------------------------------------------------


def test_a_right_password_signs_in_and_a_wrong_one_does_not(bob: User) -> None:
    assert sign_in(PASSWORD) == bob
    assert sign_in("wrong") is None
    assert sign_in(PASSWORD, "nobody") is None
    User.objects.update(is_active=False)
    assert sign_in(PASSWORD) is None


def test_a_guesser_over_the_limit_learns_nothing(bob: User, hashed: list[str]) -> None:
    fail(2)
    hashed.clear()
    assert is_refused(PASSWORD)
    assert is_refused("wrong")
    assert hashed == []  # and costs nothing


def test_the_owner_is_not_locked_out_by_a_guesser_elsewhere(bob: User) -> None:
    fail(2)
    for _ in range(158):
        assert sign_in(PASSWORD, address=ELSEWHERE) == bob


def test_others_at_the_address_of_a_guesser_are_not_locked_out(
    bob: User, alice: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2, "SHARED_FAILURE_LIMIT": 4}
    for name in ("bob", "carol", "dave"):
        fail(2 if name != "dave" else 1, name)
    assert is_refused("wrong", "dave")  # one failure is enough now
    assert sign_in(PASSWORD, "alice") == alice


def test_a_distributed_guesser_has_one_attempt_from_each_address(
    bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 2, "SHARED_FAILURE_LIMIT": 4}
    for number in range(2):
        fail(2, address=f"198.51.100.{number}")
    fail(1, address="198.51.100.9")
    assert is_refused(PASSWORD, address="198.51.100.9")
    assert sign_in(PASSWORD, address=ELSEWHERE) == bob


@pytest.mark.parametrize("spelling", ["BOB", " bob ", "\uff42\uff4f\uff42"])
def test_spellings_of_a_name_count_together(bob: User, spelling: str) -> None:
    fail(1)
    fail(1, spelling)
    assert is_refused(PASSWORD)


def test_successes_do_not_count_as_failures_of_an_earlier_backend(
    bob: User, settings: Settings
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "signalling.auth.backends.ThrottledModelBackend",
        f"{__name__}.Directory",
    ]
    for _ in range(5):
        assert sign_in("directory", "bob") == bob
    fail(2)
    assert is_refused("directory")


class Directory:
    """A second backend, as for LDAP."""

    def authenticate(self, request: Any, username: str, password: str) -> User | None:
        return User.objects.get(username=username) if password == "directory" else None


async def test_asynchronous_sign_ins_count_too(bob: User) -> None:
    request = RequestFactory(REMOTE_ADDR=HERE).post("/login/")
    for _ in range(2):
        assert await aauthenticate(request, username="bob", password="wrong") is None
    with pytest.raises(ValidationError):
        await aauthenticate(request, username="bob", password=PASSWORD)


def test_code_without_a_request_is_refused_without_an_exception(bob: User) -> None:
    for _ in range(2):
        assert authenticate(username="bob", password="wrong") is None
    assert authenticate(username="bob", password=PASSWORD) is None
    assert sign_in(PASSWORD) == bob  # counted apart


def test_credentials_of_other_backends_are_ignored(bob: User) -> None:
    for _ in range(5):
        assert authenticate(None, token="guess") is None


@pytest.mark.parametrize(("username", "password"), [("bob", None), (None, "guess")])
def test_half_of_the_credentials_is_no_attempt(
    username: str | None, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_queue", FairQueue(0, 0, 0))
    backend = backends.ThrottledModelBackend()
    assert backend.authenticate(None, username=username, password=password) is None


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the names whose failures are counted."""
    names: list[str] = []

    def failed(key: str, *others: str) -> None:
        names.append(key.split()[-1])

    monkeypatch.setattr(backends.throttle, "failed", failed)
    return names


def report_failure(**credentials: str) -> None:
    user_login_failed.send(__name__, credentials=credentials, request=None)


@pytest.mark.parametrize("field", ["username", "email"])
def test_failures_of_other_backends_count_by_the_field_that_names_the_user(
    field: str, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "USERNAME_FIELD", "email")
    Context().run(report_failure, **{field: "carol"})  # the first one of a request
    report_failure(token="guess")
    assert counted == ["carol"]


def test_a_refused_attempt_hides_only_its_own_failure(counted: list[str]) -> None:
    backends._was_refused.set(True)
    for name in ("refused", "carol", "dave"):
        report_failure(username=name)
    assert counted == ["carol", "dave"]


# --- Hashing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("username", ["bob", "nobody", "unusable"])
def test_every_name_costs_one_hash_in_a_thread_of_its_own(
    bob: User, hashed: list[str], username: str
) -> None:
    User.objects.create_user("unusable")
    assert sign_in("wrong", username) is None
    assert len(hashed) == 1
    assert hashed[0].startswith("signalling-passwords")


def test_an_outdated_hash_is_updated(bob: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [
        f"{__name__}.NewHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    assert sign_in(PASSWORD) == bob
    bob.refresh_from_db()
    assert bob.password.startswith("new$")
    assert sign_in(PASSWORD) == bob


class NewHasher(MD5PasswordHasher):
    algorithm = "new"


def test_the_users_own_rule_for_passwords_counts(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "check_password", lambda self, password: password == "own rule")
    assert sign_in("own rule") == bob
    assert sign_in(PASSWORD) is None


def test_sign_ins_that_wait_are_bounded(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_queue", FairQueue(1, 0, 0))
    form = {"username": "bob", "password": PASSWORD}
    with hashing.slot(ELSEWHERE):
        for _ in range(5):
            with pytest.raises(ValidationError, match="Too many users are signing in"):
                sign_in(PASSWORD)
        response: Any = APIClient().post("/api/token/", form)
        assert (response.status_code, response["Retry-After"]) == (429, "5")
        assert "Too many users are signing in" in response.json()["detail"]
    assert sign_in(PASSWORD) == bob  # the refusals did not count


def test_a_guesser_that_is_delayed_takes_no_place(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(2)
    monkeypatch.setattr(hashing, "_queue", FairQueue(0, 0, 0))
    with pytest.raises(ValidationError, match="Too many failed attempts"):
        sign_in("wrong")


def test_attempts_that_wait_together_are_checked_one_by_one(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them were in the queue before the first one failed."""
    monkeypatch.setattr(backends.throttle, "peek", lambda *keys: None)
    fail(2)
    assert is_refused(PASSWORD)


def test_invented_names_cost_no_hash_from_the_shared_limit_on(
    bob: User, hashed: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 3}
    pretended: list[str] = []
    monkeypatch.setattr(hashing, "pretend", lambda: pretended.append("slept"))
    for number in range(6):
        fail(1, f"invented{number}")
    assert (len(hashed), len(pretended)) == (3, 3)
    fail(1, "invented", ELSEWHERE)
    assert sign_in(PASSWORD) == bob  # a user at this address
    assert (len(hashed), len(pretended)) == (5, 3)


def test_refused_attempts_without_a_request_do_not_count(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_queue", FairQueue(0, 0, 0))
    for _ in range(5):
        assert authenticate(username="bob", password=PASSWORD) is None
    monkeypatch.undo()
    assert authenticate(username="bob", password=PASSWORD) == bob
    counted: list[object] = []
    for _ in range(2):
        assert authenticate(username="bob", password="wrong") is None
    monkeypatch.setattr(backends.throttle, "failed", lambda *keys: counted.append(keys))
    assert authenticate(username="bob", password=PASSWORD) is None  # during a delay
    assert counted == []


def test_refusals_are_held_for_a_bounded_number_of_clients(
    bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[float] = []
    monkeypatch.setattr(hashing, "_delayed", threading.BoundedSemaphore(1))

    def sleep(seconds: float) -> None:
        held.append(seconds)
        hashing.delay_refusal()  # another client, at the same time

    monkeypatch.setattr("signalling.auth.hashing.time.sleep", sleep)
    request = AsyncRequestFactory().post("/login/")
    for _ in range(2):
        assert authenticate(request, username="bob", password="wrong") is None
    assert held == []
    for count in (1, 2):
        with pytest.raises(ValidationError):
            authenticate(request, username="bob", password=PASSWORD)
        assert held == [hashing.REFUSAL_SECONDS] * count
    fail(2)
    assert is_refused(PASSWORD)
    assert len(held) == 2  # not under WSGI, where it would block a worker


# --- Pages, admin and REST API ------------------------------------------------------------------


def test_all_entry_points_count_together(client: Client, bob: User) -> None:
    staff = User.objects.create_user("root", password=PASSWORD, is_staff=True)
    form = {"username": "root", "password": "wrong"}
    assert client.post("/login/", form).status_code == 200
    assert client.post("/admin/login/", form).status_code == 200
    right = {"username": staff.username, "password": PASSWORD}
    page, admin = client.post("/login/", right), client.post("/admin/login/", right)
    api: Any = APIClient().post("/api/token/", right)
    assert page.status_code == api.status_code == 429
    assert page["Retry-After"] == api["Retry-After"] == "1"
    for response in (page, admin):
        assert "Too many failed attempts. Try again in 1 second." in response.text
    assert "available in 1 second" in api.json()["detail"]
    assert "_auth_user_id" not in client.session
    assert client.post("/login/", right, REMOTE_ADDR=ELSEWHERE).status_code == 302


def test_a_client_behind_a_proxy_counts_by_its_own_address(
    client: Client, bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1, "TRUSTED_PROXIES": ["127.0.0.1"]}
    form = {"username": "bob", "password": "wrong"}
    for address in ("192.0.2.1", "192.0.2.2"):
        response = client.post("/login/", form, headers={"x-forwarded-for": f"6.6.6.6, {address}"})
        assert response.status_code == 200
    forged = client.post("/login/", form, headers={"x-forwarded-for": "7.7.7.7, 192.0.2.1"})
    assert forged.status_code == 429
