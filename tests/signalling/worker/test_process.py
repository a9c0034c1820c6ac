"""The worker process: its lease, its queued writes, and its health endpoints."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import AsyncClient

from rooms import leases
from rooms.clock import clock
from rooms.models import Room, Worker
from signalling.layers import Undeliverable
from signalling.worker import health, process
from tests.signalling.sockets import connected

from .clock import StoppedClock

pytestmark = pytest.mark.django_db(transaction=True)


async def test_concurrent_calls_register_the_worker_once() -> None:
    worker = process.get_worker()
    ids = await asyncio.gather(*(worker.register() for _ in range(5)))
    assert len(set(ids)) == 1
    assert await Worker.objects.acount() == 1


async def test_one_renewal_renews_the_lease_of_all_sockets(
    room: Room, alice: User, bob: User
) -> None:
    async with connected(alice) as first, connected(bob) as second:
        await first.join()
        await second.join()
        before = await Worker.objects.aget()
        await asyncio.to_thread(process.get_worker().lease.renew)
        after = await Worker.objects.aget()
        assert after.expires_at > before.expires_at


async def test_a_worker_without_a_lease_closes_its_sockets_and_registers_again(
    room: Room, bob: User
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        worker = process.get_worker()
        former = worker.worker_id
        await Worker.objects.all().adelete()
        await asyncio.to_thread(worker.lease.renew)
        await socket.receive_error("unavailable")
        assert await socket.receive_close() == 4503
        assert await worker.register() != former


async def test_a_worker_that_runs_is_not_dead_to_itself(
    room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite, requests that read without a pause delay the renewals: anyone can send them."""
    worker = process.get_worker()
    monkeypatch.setattr(worker._monitor, "confirm_seconds", 0.0)
    async with connected(bob) as socket:
        await socket.join()
        await Worker.objects.aupdate(expires_at=clock.now() - timedelta(seconds=60))
        for _ in range(2):
            await worker.heartbeat()
        assert await Worker.objects.filter(pk=worker.worker_id).aexists()
        assert await room.participants.live().acount() == 1
        assert (await socket.request("ping"))["event"] == "pong"


async def test_a_suspended_worker_closes_its_sockets_before_it_handles_a_frame(
    room: Room, bob: User
) -> None:
    async with connected(bob) as socket:
        await socket.join()
        worker = process.get_worker()
        worker.lease.alive_until = worker.suspensions.alive_until = 0.0
        await socket.send("ping")
        await socket.receive_error("unavailable")
        assert await socket.receive_close() == 4503


async def test_queued_writes_wait_for_the_database() -> None:
    worker = process.get_worker()
    is_unavailable, written = True, []

    async def write(value: str) -> None:
        if is_unavailable:
            raise OperationalError
        if value == "invalid":
            raise ValueError(value)
        written.append(value)

    for value in ("first", "invalid", "second"):
        worker.pending.add(partial(write, value))
    with pytest.raises(OperationalError):
        await worker.heartbeat()
    is_unavailable = False
    await worker.heartbeat()
    await worker.heartbeat()
    assert written == ["first", "second"]


async def test_a_database_outage_makes_no_worker_look_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = leases.LeaseMonitor(confirm_seconds=1.0, grace_seconds=3.0)
    clock = StoppedClock(monkeypatch, leases)
    start = clock.now
    await database_sync_to_async(leases.register_worker)()
    await Worker.objects.aupdate(expires_at="2020-01-01T00:00Z")
    read_all = database_sync_to_async(leases.read_all)
    assert monitor.find_dead(await read_all()) == []
    clock.now = start + 0.9
    assert monitor.find_dead(await read_all()) == []
    monitor.reset()  # the database was unavailable
    clock.now = start + 5.0
    assert monitor.find_dead(await read_all()) == []
    clock.now = start + 7.9  # the next attempt of another worker may still be due
    assert monitor.find_dead(await read_all()) == []
    clock.now = start + 8.0
    (dead,) = monitor.find_dead(await read_all())
    assert await database_sync_to_async(leases.reap)(dead) == 0
    assert await Worker.objects.acount() == 0


async def test_a_machine_that_was_suspended_makes_no_worker_look_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each process that wakes up finds the leases of all others expired and unchanged."""
    worker = process.get_worker()
    clock = StoppedClock(monkeypatch, leases, process)
    await database_sync_to_async(leases.register_worker)()
    await worker.heartbeat()
    await Worker.objects.aupdate(expires_at="2020-01-01T00:00Z")
    clock.now += worker.lease.seconds
    for _ in range(2):
        await worker.heartbeat()
        clock.now += worker.lease.renewal
        assert await Worker.objects.acount() == 1
    await worker.heartbeat()
    assert await Worker.objects.acount() == 0


async def test_a_heartbeat_that_waited_for_the_database_ends_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A short outage makes the database calls of all workers wait, and no call fails."""
    worker = process.get_worker()
    clock = StoppedClock(monkeypatch, leases, process)
    await database_sync_to_async(leases.register_worker)()
    await Worker.objects.aupdate(expires_at="2020-01-01T00:00Z")
    await worker.heartbeat()

    def read_all_after_an_outage() -> list[leases.Lease]:
        clock.now += 3 * worker.lease.renewal
        return read_all()

    read_all = leases.read_all
    clock.now += worker.lease.renewal
    with monkeypatch.context() as patched:
        patched.setattr(leases, "read_all", read_all_after_an_outage)
        await worker.heartbeat()
    assert await Worker.objects.acount() == 1
    grace_until = clock.now + 3 * worker.lease.renewal
    while clock.now < grace_until:
        assert await Worker.objects.acount() == 1
        clock.now += worker.lease.renewal
        await worker.heartbeat()
    assert await Worker.objects.acount() == 0


async def test_readiness_and_liveness(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    health._unavailable.reset()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # anyone may ask
            ready = await async_client.get("/health/ready/")
    assert ready.json()["checks"] == {"serving": True, "database": True, "channel_layer": False}
    assert caplog.text.count("channel layer") == 1


async def test_a_process_that_receives_nothing_from_others_is_not_ready(
    async_client: AsyncClient,
) -> None:
    class SendingOnly(InMemoryChannelLayer):
        async def subscribed(self) -> None:
            raise Undeliverable("Redis unavailable")

    channel_layers.set("default", SendingOnly())
    ready = await async_client.get("/health/ready/")
    assert ready.json()["checks"] == {"serving": True, "database": True, "channel_layer": False}
