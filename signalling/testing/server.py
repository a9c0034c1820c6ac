"""``LiveServer``: the ASGI application of a site on a free port, in a thread of the test."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any

import uvicorn
from channels.routing import get_default_application
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import Client
from django.test.utils import modify_settings

from signalling.conf import conf
from signalling.worker import process

from .communicator import SignallingCommunicator

HOST = "127.0.0.1"
START_SECONDS = 30.0


class LiveServer:
    """Serves ``ASGI_APPLICATION`` with uvicorn, and the static files of all apps.

    ``url``: the site, such as ``http://127.0.0.1:40123``. ``socket_url``: its WebSocket. The server
    uses the database of the tests, which must not be in memory, and therefore sees only what has
    been committed.
    """

    def __init__(self) -> None:
        for connection in connections.all():
            if connection.vendor == "sqlite" and connection.is_in_memory_db():  # type: ignore[attr-defined]
                raise ImproperlyConfigured(
                    "The server's threads cannot share a database in memory. Set a file in DATABASES"
                    f'[{connection.alias!r}]: "TEST": {{"NAME": BASE_DIR / "test.sqlite3"}}'
                )
        self._listener = socket.socket()
        self._cleanup = ExitStack()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    @property
    def socket_url(self) -> str:
        path = conf().socket_path.lstrip("/")
        return f"{self.url.replace('http', 'ws', 1)}/{path}"

    def client(
        self, user: AbstractBaseUser | None = None, **options: Any
    ) -> SignallingCommunicator:
        """Return a client that is not connected yet: ``async with``. Blocking: it signs ``user`` in.

        ``options`` are those of ``SignallingCommunicator``.
        """
        if user is not None:
            browser: Any = Client()
            browser.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            cookie = ("Cookie", f"{name}={browser.cookies[name].value}")
            options["headers"] = [*options.get("headers", ()), cookie]
            options.setdefault("origin", self.url)
            options.setdefault("name", str(user))
        return SignallingCommunicator(self.socket_url, **options)

    def start(self) -> None:
        """Start to serve. Raises ``RuntimeError`` if the server does not start."""
        self._cleanup.enter_context(modify_settings(ALLOWED_HOSTS={"append": HOST}))
        self._cleanup.callback(self._listener.close)
        self._listener.bind((HOST, 0))
        self._listener.listen()
        application: Any = get_default_application()
        if "django.contrib.staticfiles" in settings.INSTALLED_APPS:
            application = ASGIStaticFilesHandler(application)
        config = uvicorn.Config(
            application, lifespan="off", log_config=None, ws="websockets-sansio"
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run_with, args=[self._listener], daemon=True)
        thread.start()
        self._cleanup.callback(server.stop, thread)
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("The server did not start; see its log")
            thread.join(0.01)

    def stop(self) -> None:
        """Close all sockets, and stop. A second call does nothing."""
        self._cleanup.close()


class _Server(uvicorn.Server):
    """uvicorn whose memberships end before its event loop does."""

    def run_with(self, listener: socket.socket) -> None:
        with suppress(SystemExit):  # uvicorn has logged why it did not start
            asyncio.run(self.serve([listener]))

    def stop(self, thread: threading.Thread) -> None:
        self.should_exit = True
        thread.join()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await process.get_worker().drain()
