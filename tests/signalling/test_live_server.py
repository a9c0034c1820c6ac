"""``signalling.testing.plugin`` serves the ASGI application of a site on a free port."""

from __future__ import annotations

from asyncio import Runner
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.sqlite3.base import DatabaseWrapper

from rooms import services
from rooms.models import Participant
from signalling.testing import RequestRefused, SignallingCommunicator
from signalling.testing.plugin import signalling_server
from signalling.testing.server import LiveServer

__all__ = ["signalling_server"]


def test_users_join_with_their_sessions(signalling_server: LiveServer) -> None:
    alice = User.objects.create_user("alice")
    code = services.open_room(host=alice).code
    clients = [signalling_server.client(user) for user in (alice, None)]
    with Runner() as runner:
        runner.run(join(code, *clients))
    signalling_server.stop()
    assert not Participant.objects.live().exists()


async def join(code: str, alice: SignallingCommunicator, anyone: SignallingCommunicator) -> None:
    async with alice, anyone:
        assert (await alice.join(code))["peers"] == []
        with pytest.raises(RequestRefused) as refused:
            await anyone.join(code)
        assert refused.value.code == "authentication_required"


def test_pages_and_static_files_are_served(signalling_server: LiveServer) -> None:
    for path in ("login/", "static/signalling/index.js"):
        with urlopen(f"{signalling_server.url}/{path}", timeout=10) as response:
            assert response.status == 200


@pytest.mark.django_db
def test_a_database_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWrapper, "is_in_memory_db", lambda self: True)
    with pytest.raises(ImproperlyConfigured, match=r"test\.sqlite3"):
        LiveServer()
