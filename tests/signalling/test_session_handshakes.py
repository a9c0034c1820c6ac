"""Handshakes with a session whose store is unavailable."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache.backends.locmem import LocMemCache
from django.test import Client
from pytest_django import Settings

from signalling.auth import sessions
from signalling.auth.canary import Canary
from tests.signalling.sockets import AppSocket

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
async def test_clients_come_back_after_an_outage_of_the_cache(
    bob: User, settings: Settings, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """4401 would be final for them."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("the cache is unavailable")

    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    monkeypatch.setattr(sessions, "canary", Canary())
    client = Client()
    await client.aforce_login(bob)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    headers = {"origin": "http://testserver", "host": "testserver", "cookie": cookie}
    for name in ("get", "set", "get_many", "set_many"):
        monkeypatch.setattr(LocMemCache, name, fail)
    socket = AppSocket(headers=headers)
    await socket.connect()
    await socket.receive_error("unavailable")
    assert await socket.receive_close() == 4503
    await socket.disconnect()
