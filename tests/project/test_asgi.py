from __future__ import annotations

from typing import Any

import pytest
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.contrib.auth.models import User

from rooms.models import Room
from signalling_project.asgi import application
from tests.conftest import access_token
from tests.patience import PATIENCE


async def get(path: str) -> dict[str, Any]:
    answer: dict[str, Any] = await HttpCommunicator(
        application, "GET", path, headers=[(b"host", b"localhost")]
    ).get_response(timeout=PATIENCE)
    return answer


@pytest.mark.django_db(transaction=True)
async def test_one_application_serves_pages_and_sockets(room: Room, bob: User) -> None:
    assert (await get("/login/"))["status"] == 200
    assert (await get("/api/rooms/"))["status"] == 401
    token = f"Bearer {access_token(bob)}".encode()
    socket = WebsocketCommunicator(
        application, "/ws/signalling/", headers=[(b"authorization", token)]
    )
    assert await socket.connect(10) == (True, None)
    await socket.disconnect()


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/signalling", "/ws/signalling/x", "/admin/"])
async def test_a_socket_with_an_unknown_path_is_rejected_without_an_exception(path: str) -> None:
    socket = WebsocketCommunicator(application, path)
    is_accepted, _ = await socket.connect(10)
    assert not is_accepted
