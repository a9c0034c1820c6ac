"""Writes on SQLite as Django sets it up: no WAL, deferred transactions, requests with ATOMIC_REQUESTS."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections

from rooms import leases, outages, primary, resuming, services, sqlite, switching

WRITES = ("INSERT", "UPDATE", "DELETE")


@pytest.fixture
def path(db: None, tmp_path: Path) -> Path:
    """A copy of the empty test database, with the default journal."""
    copy = tmp_path / "host.sqlite3"
    with sqlite3.connect(connections["default"].settings_dict["NAME"]) as source:
        source.backup(target := sqlite3.connect(copy))
    target.execute("PRAGMA journal_mode = DELETE")
    target.close()
    return copy


def use(path: Path, **options: Any) -> Any:
    """Let this thread use the copy, without any option."""
    own = connections["default"].copy()
    own.settings_dict |= {"NAME": str(path), "OPTIONS": options}
    connections["default"] = own
    return own


@pytest.fixture
def connection(path: Path) -> Iterator[Any]:
    before = connections["default"]
    yield use(path)
    connections["default"].close()
    connections["default"] = before


def in_thread(path: Path, function: Any, *args: Any) -> Any:
    use(path)
    try:
        return function(*args)
    finally:
        connections["default"].close()


def test_a_request_that_has_read_may_write_while_a_lease_is_renewed(
    connection: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_id = leases.register_worker()
    waits, has_committed = threading.Event(), threading.Event()

    def pause(seconds: float) -> None:
        waits.set()
        assert has_committed.wait(60)

    monkeypatch.setattr(sqlite, "sleep", pause)
    request = sqlite3.connect(path, isolation_level=None)
    request.execute("BEGIN")
    request.execute("SELECT * FROM auth_user").fetchall()
    with ThreadPoolExecutor() as threads:
        renewed = threads.submit(in_thread, path, leases.renew, worker_id)
        assert waits.wait(60)
        request.execute("UPDATE auth_user SET last_login = NULL")
        request.execute("COMMIT")
        has_committed.set()
        assert renewed.result(60)
    request.close()


def test_all_writes_are_in_transactions_that_exclude_others_from_the_beginning(
    connection: Any,
) -> None:
    connection.ensure_connection()
    alice = User.objects.create_user("alice")
    statements: list[str] = []
    connection.connection.set_trace_callback(statements.append)
    worker_id = leases.register_worker()
    leases.renew(worker_id)
    room = services.open_room(host=alice)
    joined = services.join(
        code=room.code, user=alice, peer_id="peer_1", channel_name="c", resumable=True
    )
    services.update_participant("peer_1", media={"audio": True})
    switching.save_claim("peer_1", epoch=0, claim={})
    switching.record_carried(room.code, version=1, peer_ids=["peer_1"])
    resuming.mark_away("peer_1", epoch=0, lost_at=monotonic())
    resuming.store_held("peer_1", epoch=0, held=[])
    resuming.resume(
        code=room.code,
        user=alice,
        token=str(joined.resume_token),
        channel_name="d",
        worker_id=worker_id,
    )
    resuming.end_expired()
    leases.retire(worker_id)
    services.set_locked(room, True)
    services.leave("peer_1")
    services.close_room(room)
    switching.reconcile(frozenset())
    outside = []
    is_exclusive = False
    for statement in statements:
        if statement.startswith("BEGIN"):
            is_exclusive = statement == "BEGIN EXCLUSIVE"
        elif statement in {"COMMIT", "ROLLBACK"}:
            is_exclusive = False
        elif statement.startswith(WRITES) and not is_exclusive:
            outside.append(statement)
    assert statements.count("BEGIN EXCLUSIVE") >= 13
    assert outside == []


def test_the_begin_fails_when_the_time_out_of_the_site_is_over(
    connection: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = use(path, timeout=0.01)
    request = sqlite3.connect(path, isolation_level=None)
    request.execute("BEGIN")
    request.execute("SELECT * FROM auth_user").fetchall()
    with pytest.raises(OperationalError) as failed, primary.atomic():
        pass
    assert outages.is_locked(failed.value)
    request.execute("COMMIT")
    with primary.atomic():  # the connection is as before
        pass
    raw = own.connection
    assert raw.execute("PRAGMA busy_timeout").fetchone() == (10,)
    assert own.transaction_mode is None
    request.close()


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_mode_that_the_site_has_chosen_is_left_alone(
    connection: Any, path: Path, mode: str
) -> None:
    own = use(path, transaction_mode=mode)
    own.ensure_connection()
    statements: list[str] = []
    own.connection.set_trace_callback(statements.append)
    with primary.write():
        pass
    with primary.atomic():
        pass
    assert statements == [f"BEGIN {mode}", "COMMIT"]
