"""The last steps of a process that stops: none of them depends on another."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError

from rooms import resuming
from rooms.models import Worker
from signalling.auth.identity import Identity
from signalling.protocol import ProtocolError
from signalling.worker import process

pytestmark = pytest.mark.django_db(transaction=True)


class Holder:
    """A socket or a detached peer, whose identity does not matter here."""

    identity: Identity | None = None
    room_code: str | None = None

    def revoke(self, error: ProtocolError) -> None: ...


class Detached(Holder):
    """A peer without a socket."""

    epoch = 0
    channel_name = "channel!detached"

    def __init__(self, peer_id: str) -> None:
        self.peer_id = peer_id
        self.has_ended = False
        self.holds = True

    def state(self) -> Any:
        return {"frames": [self.peer_id]}

    def stop_holding(self) -> None:
        pass

    def forget_held(self) -> None:
        self.holds = False

    def move_to(self, channel: str) -> None:
        pass

    def end(self, *, has_left: bool = False) -> None:
        self.has_ended = True


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The peers whose frames were stored. The first one cannot be, and the third has resumed."""
    stored: list[str] = []

    def store_held(peer_id: str, *, epoch: int, held: Any) -> bool:
        if peer_id == "peer_1":
            raise OperationalError("canceling statement due to lock timeout")
        stored.append(peer_id)
        return peer_id != "peer_3"

    monkeypatch.setattr(resuming, "store_held", store_held)
    return stored


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> process.WorkerProcess:
    """A registered worker with three detached peers."""
    monkeypatch.setattr(process, "SETTLE_SECONDS", 0.0)
    worker = process.get_worker()
    worker.drain_seconds = 0.0
    worker.detached |= {Detached(f"peer_{number}") for number in (1, 2, 3)}
    await worker.register()
    return worker


async def test_frames_are_stored_for_every_peer_although_one_fails(
    worker: process.WorkerProcess, stored: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    peers = tuple(worker.detached)
    await worker.drain()
    assert sorted(stored) == ["peer_2", "peer_3"]
    assert "Could not store the frames held for peer_1: DatabaseUnavailable" in caplog.text
    detached = [peer for peer in peers if isinstance(peer, Detached)]
    assert all(peer.has_ended for peer in detached)
    assert sorted(peer.peer_id for peer in detached if peer.holds) == ["peer_1", "peer_3"]
    assert not await Worker.objects.aexists()


async def test_a_process_retires_although_a_queued_write_fails(
    worker: process.WorkerProcess, stored: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def write() -> None:
        raise OperationalError("canceling statement due to lock timeout")

    worker.pending.add(write)
    await worker.drain()
    assert "Could not write the queued writes" in caplog.text
    assert not await Worker.objects.aexists()


async def test_frames_are_stored_for_a_few_seconds_at_most(
    worker: process.WorkerProcess, stored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STORE_SECONDS", 0.0)
    await worker.drain()
    assert stored == []
    assert not await Worker.objects.aexists()


async def test_what_arrived_last_is_reported_when_no_peer_is_left(
    worker: process.WorkerProcess, stored: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = tuple(worker.detached)
    remaining: list[list[Any]] = []

    class Layer:
        async def finish(self) -> None:
            remaining.append([peer for peer in peers if not getattr(peer, "has_ended", False)])

    monkeypatch.setattr(process, "get_channel_layer", Layer)
    await worker.drain()
    assert remaining == [[]]


async def test_a_socket_that_cannot_be_closed_does_not_keep_others_open(
    worker: process.WorkerProcess,
) -> None:
    closed = []

    class Socket(Holder):
        room: Any = None

        def close_for_drain(self) -> None:
            closed.append(self)
            raise RuntimeError

    worker.sockets |= {Socket(), Socket()}
    await worker.drain()
    assert len(closed) == 2
