"""``Stores``: database calls that outlive their socket, and failures of the channel layer."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from unittest.mock import AsyncMock, Mock, call

import pytest
from channels.exceptions import ChannelFull
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError

from rooms import guessing
from signalling import database
from signalling.auth import revocation
from signalling.auth.identity import Identity
from signalling.layers import ChannelGone, Undeliverable
from signalling.peers import messages
from signalling.peers.messages import ChannelMissed, left
from signalling.peers.stores import Stores
from signalling.protocol import PeerUpdated, ProtocolError
from signalling.transport.subscription import ChannelSubscription
from signalling.worker.pending import PendingWrites
from tests.patience import PATIENCE

LEFT = left("ABC123", "peer_me", "left")
UPDATED = messages.updated("ABC123", PeerUpdated(peer_id="peer_me", path="sfu"))
MISSED = ChannelMissed(type="channel.missed")


class Layer:
    """A channel layer whose calls raise ``error``, and otherwise are recorded."""

    def __init__(self, error: Exception | None = None) -> None:
        self.mock = Mock(side_effect=error)

    async def group_add(self, *arguments: Any) -> None:
        self.mock("add", *arguments)

    async def group_discard(self, *arguments: Any) -> None:
        self.mock("discard", *arguments)

    async def group_send(self, *arguments: Any) -> None:
        self.mock("publish", *arguments)

    async def send(self, *arguments: Any) -> None:
        self.mock("send", *arguments)


class OurLayer(Layer):
    def put(self, *arguments: Any) -> None:
        self.mock("put", *arguments)


def make(layer: Any = None) -> Stores:
    subscription = ChannelSubscription(layer or OurLayer(), Mock())
    subscription.name = "channel!me"
    return Stores(subscription, PendingWrites())


# --- The database -----------------------------------------------------------------------------


class Slow:
    """A call of the database that runs until the test lets it go."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()
        self.arguments: Any = None

    def __call__(self, *arguments: Any, **keywords: Any) -> str:
        self.started.set()
        assert self.go_on.wait(PATIENCE)
        self.arguments = arguments, keywords
        return "done"


async def cancel_during(work: Any, slow: Slow) -> None:
    """Cancel the caller of ``work`` as soon as ``slow`` runs."""
    caller = asyncio.create_task(work)
    assert await asyncio.to_thread(slow.started.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    slow.go_on.set()


async def test_a_database_call_ends_although_its_socket_has_closed() -> None:
    stores, slow = make(), Slow()
    await stores.settled()  # nothing runs
    await cancel_during(stores.database(slow, 1, epoch=2), slow)
    await stores.settled()
    assert slow.arguments == ((1,), {"epoch": 2})


async def test_a_seat_that_was_taken_is_known_although_the_socket_has_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores, slow, adopt = make(), Slow(), Mock()
    monkeypatch.setattr(revocation, "perform", slow)
    identity, service = Identity(user=User(pk=2)), Mock()
    await cancel_during(stores.seat(adopt, identity, service, code="ABC123"), slow)
    await stores.settled()
    assert slow.arguments == ((identity, guessing.guess, service), {"code": "ABC123"})
    assert adopt.mock_calls == [call("done")]


async def test_a_seat_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: Any = Mock()

    def perform(*arguments: Any, **keywords: Any) -> Any:
        return joined

    monkeypatch.setattr(revocation, "perform", perform)
    assert await make().seat(Mock(), Identity(user=User(pk=2)), Mock()) is joined


@pytest.mark.parametrize("outage", [OperationalError("away"), InterfaceError("away")])
async def test_a_write_during_an_outage_is_announced_now_and_when_it_is_repeated(
    outage: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = Mock(side_effect=[outage, 7])
    stores, announced = make(), []

    async def publish(message: Any) -> None:
        announced.append(message)

    monkeypatch.setattr(stores, "publish", publish)
    announce: Any = "version {}".format
    assert await stores.record(announce, function, "peer_me", epoch=3)
    assert announced == ["version 0"]
    await stores._pending.flush()
    await stores._pending.flush()
    assert function.mock_calls == [call("peer_me", epoch=3)] * 2
    assert announced == ["version 0", "version 7"]


async def test_a_late_write_takes_its_turn_in_the_room_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database_sync, rooms = database.database_sync, []

    def spy(function: Any, *, room: str | None = None, **options: Any) -> Any:
        rooms.append(room)
        return database_sync(function, room=room, **options)

    monkeypatch.setattr(database, "database_sync", spy)
    stores = make()
    await stores.subscribe("FORMER")
    await stores.record(lambda version: LEFT, Mock(side_effect=[OperationalError, 0]))
    await stores.subscribe("LATER")
    await stores._pending.flush()
    assert {*rooms} == {"FORMER"}


async def test_a_write_that_changed_nothing_is_not_announced_then_or_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores, publish = make(), Mock()
    monkeypatch.setattr(stores, "publish", publish)
    assert not await stores.record(Mock(), Mock(return_value=0))
    await stores._record_late(Mock(), AsyncMock(return_value=0))
    assert not publish.called


async def test_the_bugs_of_a_write_are_the_caller_s() -> None:
    stores = make()
    with pytest.raises(RuntimeError):
        await stores.record(Mock(), Mock(side_effect=RuntimeError("a bug")))
    await stores._pending.flush()


# --- The channel layer ------------------------------------------------------------------------


async def test_calls_name_the_group_of_the_room_and_the_channel_of_the_socket() -> None:
    layer = OurLayer()
    stores = make(layer)
    assert stores.can_put
    await stores.subscribe("ABC123")
    await stores.unsubscribe("ABC123")
    await stores.publish(LEFT)
    await stores.send("channel!you", MISSED)
    stores.put("channel!you", MISSED)
    stores.forward("channel!you", MISSED)
    group = "signalling.room.ABC123"
    assert layer.mock.mock_calls == [
        call("add", group, "channel!me"),
        call("discard", group, "channel!me"),
        call("publish", group, LEFT),
        call("send", "channel!you", MISSED),
        call("put", "channel!you", MISSED),
        call("put", "channel!you", MISSED),
    ]


def test_a_stock_layer_cannot_put() -> None:
    assert not make(Layer()).can_put


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ChannelGone(), "peer_not_found"),
        (ChannelFull(), "peer_busy"),
        (Undeliverable(), "unavailable"),
        (ConnectionError("the broker is gone"), "unavailable"),
    ],
)
async def test_a_failure_of_the_layer_has_a_code(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    stores = make(OurLayer(error))
    for work in (stores.subscribe("A"), stores.unsubscribe("A"), stores.send("c", MISSED)):
        with pytest.raises(ProtocolError) as refused:
            await work
        assert refused.value.code == code
        assert refused.value.__cause__ is error
        assert ("retry_after" in refused.value.details) is (code != "peer_not_found")
    assert ("the broker is gone" in caplog.text) is isinstance(error, ConnectionError)


@pytest.mark.parametrize(
    ("error", "code"), [(ChannelGone(), "peer_not_found"), (ChannelFull(), "peer_busy")]
)
async def test_a_refusal_of_a_layer_that_does_not_wait_has_a_code(
    error: Exception, code: str
) -> None:
    stores = make(OurLayer(error))
    for put in (stores.put, stores.forward):
        with pytest.raises(ProtocolError) as refused:
            put("channel!you", MISSED)
        assert (refused.value.code, refused.value.__cause__) == (code, error)


async def test_a_roster_change_during_an_outage_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Our layers have all workers read their rosters afterwards."""
    await make(OurLayer(Undeliverable())).publish(LEFT)
    assert "peer_me left" in caplog.text


@pytest.mark.parametrize(
    ("message", "error"),
    [(UPDATED, Undeliverable()), (LEFT, ConnectionError()), (LEFT, ChannelFull())],
)
async def test_what_no_later_refresh_replaces_is_refused(message: Any, error: Exception) -> None:
    with pytest.raises(ProtocolError):
        await make(OurLayer(error)).publish(message)
