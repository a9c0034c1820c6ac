"""Tokens whose keys are on another server (``SIMPLE_JWT["JWK_URL"]``), which may hang."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth.models import User
from django.test import Client
from rest_framework_simplejwt.state import token_backend
from rest_framework_simplejwt.utils import get_md5_hash_password

from rooms import key_server
from rooms.models import Room
from signalling.auth import identify
from signalling.throttling import failures
from tests.signalling.sockets import AppSocket
from tests.signalling.worker.revoking import change, open_page, sign_in

pytestmark = pytest.mark.django_db(transaction=True)

PRIVATE = ec.generate_private_key(ec.SECP256R1())
UseKeys = Callable[[int], None]


def token(user: User, kid: str = "ours", key: Any = PRIVATE) -> str:
    claims = {
        "token_type": "access",
        "exp": datetime.now(UTC) + timedelta(minutes=5),
        "jti": "a",
        "user_id": str(user.pk),
        "hash_password": get_md5_hash_password(user.password),
    }
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid})


@pytest.fixture
def use_keys(monkeypatch: pytest.MonkeyPatch) -> UseKeys:
    """Return a function that sets ``JWK_URL`` to a port on this machine."""

    def use_keys(port: int) -> None:
        client = jwt.PyJWKClient(f"http://127.0.0.1:{port}/jwks")
        monkeypatch.setattr(token_backend, "algorithm", "ES256")
        monkeypatch.setattr(token_backend, "jwks_client", client)

    return use_keys


@pytest.fixture
def hanging(use_keys: UseKeys) -> Iterator[socket.socket]:
    """A server that accepts connections and sends nothing; to close it resets them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use_keys(listener.getsockname()[1])
        yield listener


@pytest.fixture
def requests(use_keys: UseKeys) -> Iterator[list[str]]:
    """The requests to a server that has the key "ours"."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            key = jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": [{**key, "kid": "ours"}]}).encode())

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        use_keys(server.server_port)
        yield requests
        server.shutdown()


def handshake(raw_token: str) -> AppSocket:
    return AppSocket(headers={"authorization": f"Bearer {raw_token}"})


async def test_keys_are_fetched_and_other_keys_are_guesses(requests: list[str], bob: User) -> None:
    assert (await identify.identify_token(token(bob), None)).user == bob
    for forged in (
        token(bob, kid="theirs"),
        token(bob, key=ec.generate_private_key(ec.SECP256R1())),
    ):
        client = handshake(forged)
        await client.connect()
        await client.receive_error("token_invalid")
        assert await client.receive_close() == 4401
        await client.disconnect()
    assert requests == ["/jwks"]


async def test_a_server_that_hangs_holds_up_nobody_else(
    hanging: socket.socket, room: Room, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_server, "SECONDS", 60.0)
    monkeypatch.setattr(failures, "wrong_token", pytest.fail)
    strangers = [handshake(token(bob, kid)) for kid in ("first", "second")]
    waiting = [asyncio.create_task(stranger.connect()) for stranger in strangers]
    page = await open_page(await change(sign_in, bob))
    await page.join()
    assert not any(task.done() for task in waiting)
    hanging.close()
    for stranger, task in zip(strangers, waiting, strict=True):
        await task
        await stranger.receive_error("unavailable")
        assert await stranger.receive_close() == 4503
        await stranger.disconnect()
    await page.disconnect()


@pytest.mark.usefixtures("hanging")
async def test_no_token_waits_for_long(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_server, "SECONDS", 0.01)
    monkeypatch.setattr(failures, "wrong_token", pytest.fail)
    client = AppSocket()
    await client.connect()
    answer = await client.request("authenticate", {"token": token(bob)})
    assert (answer["data"]["code"], answer["data"]["retryAfter"]) == ("unavailable", 2)
    await client.disconnect()


@pytest.mark.usefixtures("hanging")
def test_the_rest_api_does_not_wait_either(bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_server, "SECONDS", 0.01)
    bearer = {"authorization": f"Bearer {token(bob)}"}
    for response in (
        Client().get("/api/rooms/", headers=bearer),
        Client().post("/api/token/refresh/", {"refresh": token(bob)}),
    ):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
