"""Sites below a path of their host: ``--root-path``, ``FORCE_SCRIPT_NAME``, an ASGI mount."""

from __future__ import annotations

from typing import Any

import pytest
from channels.routing import URLRouter
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import override_script_prefix
from django.urls import re_path
from pytest_django import Settings

from signalling.middleware import SignallingMiddlewareStack


@pytest.mark.parametrize(
    ("root_path", "path"),
    [
        ("", "/ws/"),
        ("/sub", "/sub/ws/"),  # the path as the client sent it, or with uvicorn's root path
        ("/sub", "/ws/"),  # a proxy has removed the prefix, and Daphne passes the path on
        ("/sub/", "/sub/ws/"),
        ("/w", "/ws/"),
    ],
)
@pytest.mark.parametrize("is_forced", [False, True])
async def test_a_socket_is_found_where_the_site_is_mounted(
    settings: Settings, root_path: str, path: str, is_forced: bool
) -> None:
    found = []

    async def consumer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        found.append(scope["path"])

    if is_forced:
        settings.FORCE_SCRIPT_NAME, root_path = root_path or None, ""
    handshake = {
        "type": "websocket",
        "path": path,
        "root_path": root_path,
        "query_string": b"",
        "headers": [],
    }
    application: Any = consumer
    routes = URLRouter([re_path("^ws/$", application)])
    await SignallingMiddlewareStack(routes)(handshake, None, None)
    assert found == [path]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("prefix", "setting", "path"),
    [
        ("/", {}, "/ws/signalling/"),
        ("/sub/", {}, "/sub/ws/signalling/"),
        ("/sub/", {"SOCKET_PATH": "live/ws/signalling/"}, "/sub/live/ws/signalling/"),
        ("/sub/", {"SOCKET_PATH": "/elsewhere/"}, "/elsewhere/"),
    ],
)
def test_the_page_finds_the_socket_where_the_site_is_mounted(
    client: Client, alice: User, settings: Settings, prefix: str, setting: dict[str, str], path: str
) -> None:
    settings.SIGNALLING = setting
    client.force_login(alice)
    with override_script_prefix(prefix):  # the handlers of Django set it
        page = client.get("/r/ABC123/").content.decode()
    assert f'data-socket-path="{path}"' in page
