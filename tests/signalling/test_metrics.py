from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rooms.models import Room
from signalling import metrics, protocol

from .sockets import Socket, connected, in_room

NAMES = {"sockets", "overflows", "undelivered", "requests", "errors", "closes"}


def value(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"signalling_{name}", labels)
    assert found is not None, f"there is no {name} {labels}"
    return found


def families() -> dict[str, Any]:
    exposed = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    return {family.name: family for family in exposed if family.name.startswith("signalling_")}


def test_all_counters_are_exposed_from_the_start() -> None:
    assert set(families()) >= {f"signalling_{name}" for name in NAMES}
    for event in protocol.CLIENT_EVENTS:
        value("requests_total", event=event)
    for error in protocol.ErrorCode:
        value("errors_total", code=error.value)
    for close in protocol.CloseCode:
        value("closes_total", code=str(int(close)))


def test_no_label_names_a_room_a_user_or_an_address() -> None:
    labels = {
        name
        for family in families().values()
        for sample in family.samples
        for name in sample.labels
    }
    assert labels == {"event", "code"}


@pytest.mark.django_db(transaction=True)
async def test_sockets_and_requests_are_counted(room: Room, alice: User) -> None:
    before = {name: value(name) for name in ("sockets",)}
    joins = value("requests_total", event="join:room")
    async with in_room(alice):
        assert value("sockets") == before["sockets"] + 1
        assert value("requests_total", event="join:room") == joins + 1
    assert value("sockets") == before["sockets"]


@pytest.mark.django_db(transaction=True)
async def test_errors_and_closes_are_counted(alice: User) -> None:
    errors, closes = value("errors_total", code="room_not_found"), metrics.closes
    async with connected(alice) as socket:
        await socket.send("join:room", {"roomCode": "XYZ789"})
        assert await socket.refused() == "room_not_found"
    assert value("errors_total", code="room_not_found") == errors + 1

    code = protocol.CloseCode.AUTHENTICATION
    closed = closes[code]._value.get()
    stranger = Socket()
    await stranger.open()
    await stranger.send("ping")
    assert await stranger.refused() == "authentication_required"
    assert await stranger.closed() == code
    await stranger.hang_up()
    assert closes[code]._value.get() == closed + 1
