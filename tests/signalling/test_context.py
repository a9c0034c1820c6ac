"""``SIGNALLING["CONTEXT"]`` surrounds all database calls of a socket, and no others."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import OperationalError, connections
from pytest_django import Settings

from rooms import services, signals
from rooms.models import Room
from signalling import database
from signalling.database import surroundings
from signalling.middleware import SignallingMiddlewareStack
from signalling.peers.stores import Stores
from signalling.worker.process import get_worker
from tests.patience import PATIENCE
from tests.signalling import tenants
from tests.signalling.sockets import AppSocket, connected, open_socket
from tests.signalling.tenants import TENANTS, asked, tenant

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", *TENANTS])

HOOKS = ("CONTEXT", "CAN_JOIN", "CAN_STAY", "USER_INFO")


@pytest.fixture(scope="module", autouse=True)
def databases(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("tenants")
    with sqlite3.connect(connections["default"].settings_dict["NAME"]) as source:
        for name in TENANTS:
            options = {**connections["default"].settings_dict, "NAME": str(folder / name)}
            source.backup(target := sqlite3.connect(options["NAME"]))
            target.close()
            connections.settings[name] = options
    yield
    for name in TENANTS:
        connections[name].close()
        del connections[name], connections.settings[name]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> Iterator[None]:
    hooks = {key: f"tests.signalling.tenants.{key.lower()}" for key in HOOKS}
    settings.SIGNALLING = hooks | {"LEASE_SECONDS": 3000, "LEASE_RENEWAL": 1000}
    settings.ALLOWED_HOSTS = [".example.org"]
    settings.DATABASE_ROUTERS = ["tests.signalling.tenants.Router"]
    asked.clear()
    signals.participant_left.connect(tenants.left)
    yield
    signals.participant_left.disconnect(tenants.left)


@pytest.fixture
def tea(alice: User) -> Room:
    """A room that the users of the tenant in the north may join."""
    Group.objects.using("north").create(name="Tea")
    return services.open_room(host=None, name="Tea", code="TEA")


def at(name: str) -> dict[str, Any]:
    return {"headers": {"host": f"{name}.example.org"}}


async def test_the_same_user_may_join_through_one_tenant_only(tea: Room, bob: User) -> None:
    async with connected(bob, **at("north")) as north, connected(bob, **at("south")) as south:
        answers = await asyncio.gather(
            *(one.request("join:room", {"roomCode": "TEA"}) for one in (north, south))
        )
        assert [answer["event"] for answer in answers] == ["room:joined", "error"]
    assert {found for found in asked if found[0] == "can_join"} == {
        ("can_join", "north"),
        ("can_join", "south"),
    }


async def test_a_membership_keeps_its_tenant_until_it_ends(tea: Room, bob: User) -> None:
    """Join, lose the socket, resume on another one, and leave."""
    first = await open_socket(bob, **at("north"))
    token = (await first.join("TEA", resumable=True))["resumeToken"]
    await first.disconnect(1006)
    async with connected(bob, **at("north")) as second:
        await second.join("TEA", resumeToken=token)
        await second.request("leave:room")
    assert [name for name, _ in asked if name != "user_info"] == ["can_join", "can_join", "left"]
    assert {where for _, where in asked} == {"north"}


@pytest.mark.parametrize("is_detached", [False, True])
async def test_a_revocation_by_the_worker_happens_in_the_tenant(
    tea: Room, bob: User, is_detached: bool
) -> None:
    socket = await open_socket(bob, **at("north"))
    await socket.join("TEA", resumable=True)
    if is_detached:
        await socket.disconnect(1006)
    asked.clear()
    await sync_to_async(Group.objects.using("north").all().delete)()
    get_worker().revocations.recheck()
    if not is_detached:
        await socket.receive_error("forbidden")
        await socket.disconnect()
    async with asyncio.timeout(PATIENCE):
        while [name for name, _ in asked] != ["can_stay", "left"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert {where for _, where in asked} == {"north"}


async def test_a_write_that_was_queued_is_made_in_the_tenant(
    tea: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(bob, **at("north")) as socket:
        await socket.join("TEA")
        asked.clear()
        with monkeypatch.context() as outage:
            outage.setattr(Stores, "database", unavailable)
            await socket.request("leave:room")
        assert asked == []
        await get_worker().pending.flush()
    assert asked == [("left", "north")]


async def unavailable(*args: object, **kwargs: object) -> None:
    raise OperationalError


async def test_the_function_that_validates_tokens_is_called_in_the_tenant(
    settings: Settings, bob: User
) -> None:
    settings.SIGNALLING |= {"AUTHENTICATE": "tests.signalling.tenants.authenticate"}
    socket = AppSocket(headers={**at("south")["headers"], "authorization": "Bearer any"})
    await socket.connect()
    await socket.receive_error("token_invalid")
    await socket.disconnect()
    assert asked == [("authenticate", "south")]


async def test_the_work_of_the_worker_has_no_tenant(tea: Room, bob: User) -> None:
    found: list[str | None] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append(await database.database_sync(tenant)())
        found.append(await database.run_in_background_thread(tenant)())

    handshake = {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"north.example.org")],
    }
    await SignallingMiddlewareStack(application)(handshake, None, None)
    assert found == ["north", None]
    assert surroundings.current() is surroundings.NONE


async def test_a_context_that_fails_refuses_the_handshake(bob: User) -> None:
    socket = await open_socket(bob)  # without a host
    await socket.receive_error("internal")
    assert await socket.receive_close() == 4500
    await socket.disconnect()
    assert asked == []
