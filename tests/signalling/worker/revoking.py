"""Changes that a site makes while sockets are open, and what the sockets see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from signalling.worker import process
from tests.signalling.sockets import AppSocket

NEW_PASSWORD = "battery staple"
PAGE = {"host": "localhost", "origin": "http://localhost"}


async def change(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run synchronous code of a site, such as a view, in its thread."""
    return await sync_to_async(function)(*args, **kwargs)


def set_password(user: User) -> None:
    user.set_password(NEW_PASSWORD)
    user.save()


def deactivate(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def sign_in(user: User, **data: object) -> Client:
    """Return a browser in which a user has signed in; ``data`` is in its session."""
    client = Client()
    client.force_login(user)
    if data:  # so that two signed cookies differ
        session = client.session
        session.update(data)
        session.save()
        client.cookies["sessionid"] = str(session.session_key)
    return client


async def open_page(client: Client) -> AppSocket:
    """Return a socket of a page of the site."""
    socket = AppSocket(headers={**PAGE, "cookie": f"sessionid={key_of(client)}"})
    await socket.connect()
    return socket


def key_of(client: Client) -> str:
    return str(client.cookies["sessionid"].value)


async def sweep() -> None:
    await process.get_worker().revocations.sweep()


async def assert_closed(socket: AppSocket, code: str, close: int = 4401) -> None:
    await socket.receive_error(code)
    assert await socket.receive_close() == close
    await socket.disconnect(1006)
