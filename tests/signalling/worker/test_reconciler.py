"""The reconciliation of sockets, detached peers and rosters with the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from rooms import reconciling, resuming, services
from rooms.models import Participant, Room
from signalling import database, receivers
from signalling.peers import stores
from signalling.worker import process, reconciler, releases
from tests.conftest import Enter
from tests.patience import PATIENCE
from tests.signalling.sockets import AppSocket, connected, in_room
from tests.signalling.worker.lost_answers import lost_answer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def on_request(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Read rosters at once; have no heartbeats but those that a test asks for."""
    monkeypatch.setattr(reconciler, "PAUSE_SECONDS", (0.0, 0.0))
    settings.SIGNALLING = {
        **settings.SIGNALLING,
        "LEASE_SECONDS": 7200.0,
        "LEASE_RENEWAL": 3600.0,
    }


@pytest.fixture
def lossy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A context in which no announcement arrives."""

    async def drop(*arguments: Any) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(stores.Stores, "publish", drop)
        patch.setattr(receivers, "_publish", lambda message: None)
        yield patch


async def live() -> set[str]:
    return {peer.peer_id async for peer in Participant.objects.live()}


async def heartbeat() -> None:
    await process.get_worker().heartbeat()


async def run(service: Any, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(service, *args, **kwargs)


# --- Sockets ----------------------------------------------------------------------------------


async def test_nothing_is_done_when_nothing_is_wrong(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_room(alice, bob) as sockets:
        monkeypatch.setattr(reconciling, "release", None)
        monkeypatch.setattr(reconciling, "read_rosters", None)
        for _ in range(3):
            await heartbeat()
        for socket in sockets:
            await socket.receive_nothing()


async def test_a_socket_whose_peer_has_left_is_closed(
    room: Room, alice: User, bob: User, lossy: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (socket,):
        await run(services.leave, socket.peer_id, reason="server_lost")
        await heartbeat()
        await socket.receive_error("not_in_room")
        assert await socket.receive_close() == 4503


async def test_a_socket_whose_peer_has_another_one_is_closed_and_its_row_stays(
    room: Room, alice: User, lossy: pytest.MonkeyPatch
) -> None:
    async with in_room(alice, resumable=True) as (socket,):
        await Participant.objects.aupdate(
            epoch=F("epoch") + 1, channel_name="channel!elsewhere", worker=None
        )
        await heartbeat()
        await socket.receive_error("not_in_room")
        assert await socket.receive_close() == 4409
        await heartbeat()
        await heartbeat()  # the detached peer, which nobody has taken over
        assert not process.get_worker().detached
        assert await live() == {socket.peer_id}
        assert not (await Participant.objects.aget()).is_away


async def test_a_socket_that_counts_as_away_is_closed_and_may_resume(
    room: Room, alice: User
) -> None:
    until = timezone.now() + timedelta(seconds=30)
    async with in_room(alice, resumable=True) as (socket,):
        await Participant.objects.aupdate(away_until=until, worker=None)
        await heartbeat()
        await socket.receive_error("unavailable")
        assert await socket.receive_close() == 4503


# --- Rows -------------------------------------------------------------------------------------


async def test_a_join_whose_commit_was_not_answered_ends_at_the_next_heartbeat(
    room: Room, alice: User, bob: User
) -> None:
    async with in_room(alice) as (witness,), connected(bob) as socket:
        with lost_answer(services, "join"):
            for _ in range(3):
                data = {"roomCode": "ABC123", "resumable": True}
                answer = await socket.request("join:room", data)
                assert answer["data"]["code"] == "unavailable"
        assert len(await live()) == 4
        await socket.join()
        assert (await witness.receive("peer:joined"))["peerId"] == socket.peer_id
        await heartbeat()
        assert await live() == {witness.peer_id, socket.peer_id}


async def test_rows_whose_sockets_are_gone_end_a_few_at_a_time(
    room: Room, alice: User, bob: User, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "RELEASE_SECONDS", 0.0)
    async with in_room(alice) as (witness,):
        worker_id = process.get_worker().worker_id
        lost = [(await run(enter, bob, worker_id=worker_id)).participant for _ in range(3)]
        for still_there in (3, 2, 1):
            await process.get_worker().reconciler.reconcile(worker_id)
            assert len(await live()) == still_there
        assert await live() == {witness.peer_id}
        rows = [row async for row in Participant.objects.exclude(peer_id=witness.peer_id)]
        assert {(row.peer_id, row.reason) for row in rows} == {
            (peer.peer_id, "disconnected") for peer in lost
        }


async def test_a_resume_whose_commit_was_not_answered_becomes_away_and_may_resume(
    room: Room, alice: User
) -> None:
    async with connected(alice) as first:
        token = (await first.join(resumable=True))["resumeToken"]
        await first.disconnect(1006)
    async with connected(alice) as second:
        with lost_answer(resuming, "resume"):
            data = {"roomCode": "ABC123", "resumable": True, "resumeToken": token}
            answer = await second.request("join:room", data)
            assert answer["data"]["code"] == "unavailable"
        assert not (await Participant.objects.aget()).is_away
        await heartbeat()
        row = await Participant.objects.aget()
        assert (row.is_away, row.has_gap, row.epoch) == (True, True, 1)
    async with connected(alice) as third:
        joined = await third.join(resumable=True, resumeToken=token)
        assert (joined["peerId"], joined["resumed"], joined["gap"]) == (row.peer_id, True, True)


async def test_a_detached_peer_that_the_database_does_not_know_to_be_away_becomes_away(
    room: Room, alice: User, bob: User, lossy: pytest.MonkeyPatch
) -> None:
    async with connected(alice) as socket:
        await socket.join(resumable=True)
        await socket.disconnect(1006)
    await Participant.objects.aupdate(away_until=None)  # as if the write was lost
    await heartbeat()
    assert not (await Participant.objects.aget()).is_away  # it may be on its way
    await heartbeat()
    assert (await Participant.objects.aget()).is_away
    (detached,) = process.get_worker().detached
    await run(services.leave, detached.peer_id)
    await heartbeat()
    assert not process.get_worker().detached


async def test_a_join_in_flight_keeps_its_row(
    room: Room, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    join, beats = services.join, process.get_worker()
    committed, answered = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def commit_and_wait(**arguments: Any) -> Any:
        joined = join(**arguments)
        loop.call_soon_threadsafe(committed.set)
        asyncio.run_coroutine_threadsafe(answered.wait(), loop).result(PATIENCE)
        return joined

    async with connected(alice) as socket:
        monkeypatch.setattr(services, "join", commit_and_wait)
        joining = asyncio.create_task(socket.join())
        await committed.wait()
        answered.set()
        await beats.reconciler.reconcile(beats.worker_id)
        await joining
        await beats.reconciler.reconcile(beats.worker_id)
        assert await live() == {socket.peer_id}


# --- Rosters ----------------------------------------------------------------------------------


async def see(socket: AppSocket, *expected: tuple[str, str]) -> None:
    for event, peer_id in expected:
        assert (await socket.receive(event))["peerId"] == peer_id


async def test_a_heartbeat_finds_changes_that_were_not_announced(
    room: Room, alice: User, bob: User, enter: Enter, lossy: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (socket,):
        stays = (await run(enter, bob)).participant
        goes = (await run(enter, bob)).participant
        await heartbeat()
        await see(socket, ("peer:joined", stays.peer_id), ("peer:joined", goes.peer_id))
        await run(services.leave, goes.peer_id)
        await heartbeat()
        await see(socket, ("peer:left", goes.peer_id))


async def test_a_heartbeat_finds_changes_of_earlier_builds_which_count_none(
    room: Room, alice: User, bob: User, enter: Enter, lossy: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (socket,):
        peer = (await run(enter, bob)).participant
        await Room.objects.aupdate(roster_version=1)
        await heartbeat()
        await see(socket, ("peer:joined", peer.peer_id))


async def test_a_heartbeat_finds_a_change_of_mode_that_was_not_announced(
    room: Room, alice: User, bob: User, lossy: pytest.MonkeyPatch
) -> None:
    async with in_room(alice) as (socket,):
        await Room.objects.aupdate(mode_version=1)
        await heartbeat()
        assert (await socket.receive("room:mode"))["reason"] == "missed"


async def test_all_sockets_of_a_room_share_one_read(
    room: Room, alice: User, bob: User, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    read_rosters = reconciling.read_rosters

    def count(codes: Any) -> Any:
        reads.append(list(codes))
        return read_rosters(codes)

    async with in_room(alice, alice, bob) as sockets:
        monkeypatch.setattr(reconciling, "read_rosters", count)
        await run(enter, bob)
        await run(enter, bob)
        layer: Any = get_channel_layer()
        await layer.group_send("signalling.room.ABC123", {"type": "channel.missed"})
        for socket in sockets:
            for _ in range(2):
                await socket.receive("peer:joined")
        assert reads == [["ABC123"]]


async def test_a_read_waits_for_a_database_that_is_unavailable(
    room: Room, alice: User, bob: User, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_rosters = reconciling.read_rosters
    outcomes = iter([OperationalError("the database is starting up"), None])

    def fail_once(codes: Any) -> Any:
        if (error := next(outcomes)) is not None:
            raise error
        return read_rosters(codes)

    monkeypatch.setattr(reconciler, "RETRY_SECONDS", 0.0)
    async with in_room(alice) as (socket,):
        peer = (await run(enter, bob)).participant
        monkeypatch.setattr(reconciling, "read_rosters", fail_once)
        process.get_worker().reconciler.request("ABC123")
        await see(socket, ("peer:joined", peer.peer_id))


async def test_a_failed_read_is_repeated_although_less_is_asked_for_by_then(
    room: Room, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = process.get_worker().reconciler
    reads: list[Any] = []
    read_twice = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail_once(codes: Any) -> Any:
        reads.append(codes)
        if len(reads) == 1:
            loop.call_soon_threadsafe(tested.request, "ABC123", 1)  # which the socket has seen
            raise OperationalError("the database is starting up")
        loop.call_soon_threadsafe(read_twice.set)
        return {}

    monkeypatch.setattr(reconciler, "RETRY_SECONDS", 0.0)
    async with in_room(alice):
        monkeypatch.setattr(reconciling, "read_rosters", fail_once)
        tested.request("ABC123")
        async with asyncio.timeout(PATIENCE):
            await read_twice.wait()


async def test_a_leave_while_both_stores_are_unavailable_reaches_the_others(
    room: Room, alice: User, bob: User, lossy: pytest.MonkeyPatch
) -> None:
    """It is announced again when it is written; if that is lost too, the version differs."""
    async with in_room(alice) as (witness,), connected(bob) as socket:
        lossy.undo()
        await socket.join()
        await witness.receive("peer:joined")

        async def drop(*arguments: Any) -> None: ...

        def fail(*arguments: Any) -> None:
            raise OperationalError

        lossy.setattr(stores.Stores, "publish", drop)
        with pytest.MonkeyPatch.context() as outage:
            outage.setattr(type(Participant.objects), "of_socket", fail)
            await socket.disconnect(1006)
            await witness.receive_nothing()
        await heartbeat()
        await see(witness, ("peer:left", socket.peer_id))


async def test_the_number_of_queries_does_not_depend_on_the_number_of_sockets(
    room: Room, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def run_in_background_thread(function: Any) -> Any:
        calls.append(function)
        return database.run_in_background_thread(function)

    monkeypatch.setattr(reconciler, "run_in_background_thread", run_in_background_thread)
    worker = process.get_worker()
    for users in ((alice,), (alice, alice, bob, bob)):
        async with in_room(*users):
            calls.clear()
            await worker.reconciler.reconcile(worker.worker_id)
            # One statement each: see tests/rooms/test_reconciling.py.
            assert calls == [reconciling.read_rows_of_worker, reconciling.read_rooms]
