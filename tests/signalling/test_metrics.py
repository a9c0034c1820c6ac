from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.contrib.auth.models import User
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rooms.models import Room
from signalling import metrics, protocol
from tests.signalling.sockets import AppSocket, connected, in_room

NAMES = {"sockets", "overflows", "undelivered", "requests", "errors", "closes"}
NAMES |= {"ignored_messages", "bus_drops"}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"signalling_{name}", labels) or 0.0


def families() -> dict[str, Any]:
    exposed = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    return {family.name: family for family in exposed if family.name.startswith("signalling_")}


def test_all_counters_are_exposed_from_the_start() -> None:
    assert set(families()) >= {f"signalling_{name}" for name in NAMES}


def test_no_label_contains_a_room_a_user_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "requests", Counter({protocol.Ping: 2}))
    monkeypatch.setattr(metrics, "errors", Counter({"room_full": 1}))
    monkeypatch.setattr(metrics.ignored, "counts", Counter({"malformed": 4}))
    assert value("ignored_messages_total", reason="malformed") == 4
    assert value("requests_total", event="ping") == 2
    assert value("errors_total", code="room_full") == 1
    labels = {
        name
        for family in families().values()
        for sample in family.samples
        for name in sample.labels
    }
    assert labels == {"event", "code", "reason"}


@pytest.mark.django_db(transaction=True)
async def test_sockets_and_requests_are_counted(room: Room, alice: User) -> None:
    before = value("sockets")
    joins = value("requests_total", event="join:room")
    async with in_room(alice):
        assert value("sockets") == before + 1
        assert value("requests_total", event="join:room") == joins + 1
    assert value("sockets") == before


@pytest.mark.django_db(transaction=True)
async def test_errors_and_closes_are_counted(alice: User) -> None:
    errors = value("errors_total", code="room_not_found")
    async with connected(alice) as socket:
        await socket.send("join:room", {"roomCode": "XYZ789"})
        await socket.receive_error("room_not_found")
    assert value("errors_total", code="room_not_found") == errors + 1

    code = protocol.CloseCode.AUTHENTICATION
    closed = value("closes_total", code=str(int(code)))
    stranger = AppSocket()
    await stranger.connect()
    await stranger.send("ping")
    await stranger.receive_error("authentication_required")
    assert await stranger.receive_close() == code
    await stranger.disconnect()
    assert value("closes_total", code=str(int(code))) == closed + 1
