"""Which errors of the database are outages, and what requests get during one."""

from __future__ import annotations

import sqlite3
import threading
from queue import SimpleQueue

import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, InternalError, OperationalError, ProgrammingError
from django.test import Client
from psycopg import errors as postgres
from rest_framework.test import APIClient

from rooms import outages, services
from rooms.deadlines import Workers
from rooms.models import Room
from tests.conftest import access_token
from tests.patience import PATIENCE


def wrapped(error: type[Exception], cause: Exception | None) -> Exception:
    """Return the error of Django for an error of the driver."""
    made = error("failed")
    made.__cause__ = cause
    return made


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "is_outage", "is_locked"),
    [
        (wrapped(OperationalError, None), True, False),
        (wrapped(InterfaceError, None), True, False),
        (wrapped(OperationalError, postgres.AdminShutdown()), True, False),
        (wrapped(OperationalError, postgres.QueryCanceled()), True, False),
        (wrapped(InternalError, postgres.ReadOnlySqlTransaction()), True, False),
        (wrapped(InternalError, postgres.InFailedSqlTransaction()), True, False),
        (wrapped(InternalError, postgres.IdleInTransactionSessionTimeout()), True, False),
        (wrapped(InternalError, postgres.InvalidCursorState()), False, False),
        (wrapped(OperationalError, postgres.LockNotAvailable()), False, True),
        (wrapped(OperationalError, postgres.DeadlockDetected()), False, True),
        (wrapped(OperationalError, sqlite_error(sqlite3.SQLITE_BUSY)), False, True),
        (wrapped(OperationalError, sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT)), False, True),
        (wrapped(OperationalError, sqlite_error(sqlite3.SQLITE_CANTOPEN)), True, False),
        (outages.DatabaseUnavailable(), True, False),
        (outages.RowLocked(), False, True),
        (wrapped(ProgrammingError, None), False, False),
        (ValueError(), False, False),
    ],
)
def test_outages_and_locks(error: Exception, is_outage: bool, is_locked: bool) -> None:
    assert (outages.is_outage(error), outages.is_locked(error)) == (is_outage, is_locked)
    assert outages.is_refusal(error) == (is_outage or is_locked)


@pytest.fixture(params=["at once", "known"])
def outage(request: pytest.FixtureRequest, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is read-only, and one that is known to be unavailable."""
    if request.param == "known":
        monkeypatch.setattr(outages, "monitors", [lambda: True])
        return

    def refuse(*args: object, **kwargs: object) -> None:
        raise wrapped(InternalError, postgres.ReadOnlySqlTransaction())

    monkeypatch.setattr(services, "open_room", refuse)
    monkeypatch.setattr(services, "find_room", refuse)


@pytest.mark.usefixtures("outage")
def test_the_rest_api_responds_with_503(room: Room, bob: User) -> None:
    client = APIClient(headers={"Authorization": f"Bearer {access_token(bob)}"})
    for response in (client.get(f"/api/rooms/{room.code}/"), client.post("/api/rooms/")):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
        assert response.json()["code"] == "unavailable"


@pytest.mark.usefixtures("outage")
def test_pages_respond_with_503(bob: User, client: Client) -> None:
    client.force_login(bob)
    response = client.post("/", {"name": "Tea"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert "default-src" in response.headers["Content-Security-Policy"]


def test_views_of_other_packages_respond_with_503(
    db: None, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise wrapped(OperationalError, None)

    monkeypatch.setattr("rest_framework_simplejwt.serializers.authenticate", refuse)
    response = client.post("/api/token/", {"username": "bob", "password": "x"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")


def test_a_thread_that_is_kept_is_replaced_until_its_call_returns() -> None:
    workers, returns = Workers(1, "kept"), threading.Event()
    begun: SimpleQueue[threading.Thread] = SimpleQueue()

    def wait() -> None:
        begun.put(threading.current_thread())
        returns.wait(PATIENCE)

    kept = workers.submit(wait)
    thread = begun.get(timeout=PATIENCE)
    workers.replace(thread)
    assert workers.run(lambda: "another thread", 10) == "another thread"
    returns.set()
    kept.result(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert workers.run(lambda: "the same", 10) == "the same"
