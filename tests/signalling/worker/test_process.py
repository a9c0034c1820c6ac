"""A process among the others: its lease, what it must write later, its end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import AsyncClient

from rooms import leases
from rooms.models import Room, Worker
from signalling.worker import health, process
from tests.signalling.sockets import connected

pytestmark = pytest.mark.django_db(transaction=True)


async def test_many_joins_at_once_enlist_once() -> None:
    here = process.get_worker()
    ids = await asyncio.gather(*(here.register() for _ in range(5)))
    assert len(set(ids)) == 1
    assert await Worker.objects.acount() == 1


async def test_one_beat_is_one_update_however_many_sockets(
    room: Room, alice: User, bob: User
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        await second.join()
        before = await Worker.objects.aget()
        await process.get_worker().heartbeat()
        after = await Worker.objects.aget()
        assert after.expires_at > before.expires_at


async def test_who_was_taken_for_dead_closes_its_sockets_and_begins_anew(
    room: Room, bob: User
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        here = process.get_worker()
        former = here.worker_id
        await Worker.objects.all().adelete()
        await here.heartbeat()
        assert await socket.receive_error() == "unavailable"
        assert await socket.closed() == 4503
        assert await here.register() != former


async def test_who_stood_still_serves_no_frame_before_it_closes(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.join()
        process.get_worker().alive_until = 0.0
        await socket.send("ping")
        assert await socket.receive_error() == "unavailable"
        assert await socket.closed() == 4503


async def test_what_could_not_be_written_waits_for_the_database() -> None:
    here = process.get_worker()
    is_away, written = True, []

    async def write(what: str) -> None:
        if is_away:
            raise OperationalError
        if what == "nonsense":
            raise ValueError(what)
        written.append(what)

    for what in ("first", "nonsense", "second"):
        here.pending.add(lambda what=what: write(what))  # type: ignore[misc]
    with pytest.raises(OperationalError):
        await here.heartbeat()
    is_away = False
    await here.heartbeat()
    await here.heartbeat()
    assert written == ["first", "second"]


async def test_an_outage_is_nobodys_death(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = leases.LeaseMonitor(confirm_seconds=1.0, grace_seconds=3.0)
    now = 0.0
    monkeypatch.setattr(leases, "monotonic", lambda: now)
    await database_sync_to_async(leases.register_worker)()
    await Worker.objects.aupdate(expires_at="2020-01-01T00:00Z")
    read_all = database_sync_to_async(leases.read_all)
    assert watch.find_dead(await read_all()) == []
    now = 0.9
    assert watch.find_dead(await read_all()) == []
    watch.reset()  # the database was away
    now = 5.0
    assert watch.find_dead(await read_all()) == []
    now = 7.9  # another one's pool of connections may still wait for its next attempt
    assert watch.find_dead(await read_all()) == []
    now = 8.0
    (dead,) = watch.find_dead(await read_all())
    assert await database_sync_to_async(leases.reap)(dead) == 0
    assert await Worker.objects.acount() == 0


async def test_a_heartbeat_that_waited_for_the_database_ends_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A short outage makes the database calls of all workers wait, and no call fails."""
    worker = process.get_worker()
    now = 0.0
    for module in (leases, process):
        monkeypatch.setattr(module, "monotonic", lambda: now)
    await database_sync_to_async(leases.register_worker)()
    await Worker.objects.aupdate(expires_at="2020-01-01T00:00Z")
    await worker.heartbeat()

    def read_all_after_an_outage() -> list[leases.Lease]:
        nonlocal now
        now = 4 * worker.renewal
        return read_all()

    read_all = leases.read_all
    now = worker.renewal
    with monkeypatch.context() as patched:
        patched.setattr(leases, "read_all", read_all_after_an_outage)
        await worker.heartbeat()
    assert await Worker.objects.acount() == 1
    now += 2 * worker.lease
    await worker.heartbeat()
    assert await Worker.objects.acount() == 0


async def test_health(async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await async_client.get("/health/live/")).status_code == 200
    ready = await async_client.get("/health/ready/")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    monkeypatch.setattr(process, "is_draining", lambda: True)
    ready = await async_client.get("/health/ready/")
    assert (ready.status_code, ready.json()["checks"]["serving"]) == (503, False)
    assert (await async_client.get("/health/live/")).status_code == 200


async def test_readiness_names_the_unavailable_store(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*arguments: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(health, "_use_channel_layer", fail)
    with caplog.at_level(logging.WARNING):
        ready = await async_client.get("/health/ready/")
    assert ready.json()["checks"] == {"serving": True, "database": True, "channel_layer": False}
    assert "channel layer" in caplog.text
