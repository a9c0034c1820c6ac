from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from rooms.models import Room
from signalling.auth import tokens
from signalling.handshakes import ContextMiddleware
from signalling.middleware import (
    AddressLimitMiddleware,
    JWTAuthMiddleware,
    OriginMiddleware,
    SignallingMiddlewareStack,
)
from signalling.worker import pushes
from tests.conftest import PASSWORD, access_token
from tests.signalling.sockets import AppSocket, connected

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stopped_time")]


@pytest.fixture
def bobs_cookie(bob: User) -> str:
    client = Client()
    client.force_login(bob)
    return f"sessionid={client.cookies['sessionid'].value}"


def scope(query: bytes = b"", /, **headers: str) -> dict[str, Any]:
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return {
        "type": "websocket",
        "path": "/",
        "headers": pairs,
        "query_string": query,
        "client": ("192.0.2.1", 50_000),
    }


async def seen(handshake: dict[str, Any]) -> dict[str, Any]:
    """Return the scope that the consumer gets."""
    scopes: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)

    await JWTAuthMiddleware(inner)(handshake, None, None)
    return scopes[0]


async def refusal_of(handshake: dict[str, Any]) -> str:
    inside = await seen(handshake)
    assert inside["identity"] is None
    assert inside["user"] == AnonymousUser()
    return str(inside["refusal"].code)


# --- Identity ---------------------------------------------------------------------------------


async def test_a_token_is_read_from_the_header(bob: User) -> None:
    inside = await seen(scope(authorization=f"Bearer {access_token(bob)}"))
    assert (inside["identity"].user, inside["user"], inside["refusal"]) == (bob, bob, None)


async def test_a_token_is_read_from_the_subprotocol_and_not_echoed(room: Room, bob: User) -> None:
    offered = f"signalling.v1, bearer.{access_token(bob)}"
    socket = AppSocket(headers={"sec-websocket-protocol": offered})
    assert await socket.connect() == "signalling.v1"
    await socket.join()
    await socket.disconnect()


async def test_a_client_that_offers_only_a_token_gets_no_subprotocol(bob: User) -> None:
    socket = AppSocket(headers={"sec-websocket-protocol": f"bearer.{access_token(bob)}"})
    assert await socket.connect() is None
    await socket.receive_nothing()
    await socket.disconnect()


async def test_a_token_is_read_and_removed_from_the_query(room: Room, bob: User) -> None:
    handshake = scope(b"a=1&token=" + access_token(bob).encode())
    inside = await seen(handshake)
    assert inside["user"] == bob
    assert (
        handshake["query_string"] == inside["query_string"] == b"a=1"
    )  # the server logs its own copy


async def test_query_tokens_can_be_disabled(bob: User, settings: Settings) -> None:
    settings.SIGNALLING = {"QUERY_TOKEN": False}
    handshake = scope(b"token=" + access_token(bob).encode())
    inside = await seen(handshake)
    assert (inside["identity"], inside["refusal"]) == (None, None)
    assert handshake["query_string"] == b""  # still removed: the server logs it


async def test_the_first_token_found_counts_even_if_it_is_invalid(bob: User) -> None:
    good = access_token(bob)
    handshake = scope(
        b"token=" + good.encode(),
        authorization="Bearer wrong",
        sec_websocket_protocol=f"bearer.{good}",
    )
    assert await refusal_of(handshake) == "token_invalid"


async def test_a_handshake_without_a_token_is_not_refused() -> None:
    inside = await seen(scope())
    assert (inside["identity"], inside["refusal"]) == (None, None)
    assert inside["user"] == AnonymousUser()


async def test_an_unavailable_database_is_reported_to_the_client(
    bob: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(token: str) -> None:
        raise OperationalError

    monkeypatch.setattr(tokens, "authenticate", fail)
    socket = AppSocket(headers={"authorization": "Bearer any"})
    await socket.connect()
    frame = await socket.receive_frame()
    assert (frame["data"]["code"], frame["data"]["retryAfter"]) == ("unavailable", 2)
    assert await socket.receive_close() == 4503
    await socket.disconnect()


async def delays(count: int, address: str, forwarded: str = "") -> list[int]:
    """Send wrong tokens from an address; return the seconds of ``retry_after`` of each refusal."""
    waits = []
    for number in range(count):
        chain = {"x_forwarded_for": forwarded.format(number)} if forwarded else {}
        handshake = {**scope(authorization="Bearer wrong", **chain), "client": (address, 50_000)}
        refusal = (await seen(handshake))["refusal"]
        assert (refusal.code, refusal.close) == ("token_invalid", 4401)  # the client may sign in
        waits.append(refusal.details.get("retry_after", 0))
    return waits


async def test_an_address_that_guesses_tokens_is_asked_to_wait(
    bob: User, settings: Settings
) -> None:
    settings.SIGNALLING = {"FAILURE_LIMIT": 1, "SHARED_FAILURE_LIMIT": 3}
    assert await delays(5, "1.2.3.4") == [0, 0, 0, 1, 1]
    right = {**scope(authorization=f"Bearer {access_token(bob)}"), "client": ("1.2.3.4", 50_000)}
    assert (await seen(right))["refusal"] is None


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1"])
async def test_an_address_that_may_be_that_of_a_proxy_is_not_counted(
    settings: Settings, address: str
) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 1}
    assert await delays(5, address, "203.0.113.{}, 198.51.100.7") == [0] * 5


async def test_forged_addresses_do_not_hide_a_guesser_of_tokens(settings: Settings) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 2, "TRUSTED_PROXIES": ["10.0.0.7"]}
    assert await delays(4, "10.0.0.7", "203.0.113.{}, 198.51.100.7") == [0, 0, 1, 1]


async def test_formerly_valid_tokens_are_not_throttled(bob: User, settings: Settings) -> None:
    settings.SIGNALLING = {"SHARED_FAILURE_LIMIT": 1}
    token = access_token(bob)
    bob.is_active = False
    await bob.asave()
    for _ in range(3):
        handshake = {**scope(authorization=f"Bearer {token}"), "client": ("1.2.3.4", 50_000)}
        refusal = (await seen(handshake))["refusal"]
        assert (refusal.code, refusal.details) == ("user_inactive", {})


# --- Sessions ---------------------------------------------------------------------------------


async def test_the_session_counts_on_pages_of_the_site(bob: User, bobs_cookie: str) -> None:
    handshake = scope(host="localhost:8000", origin="http://localhost:8000", cookie=bobs_cookie)
    inside = await seen(handshake)
    assert inside["user"] == bob
    assert inside["identity"].expires_at is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost"},
        {"host": "localhost", "origin": "http://localhost:5173"},
        {"host": "evil.example", "origin": "http://evil.example"},
        {"origin": "http://localhost"},
        {"host": "localhost", "origin": "null"},
        {"host": "localhost", "origin": "http://["},
        {"host": "", "origin": ""},
    ],
)
async def test_the_session_does_not_count_on_other_pages(
    bobs_cookie: str, headers: dict[str, str]
) -> None:
    inside = await seen(scope(cookie=bobs_cookie, **headers))
    assert (inside["identity"], inside["refusal"]) == (None, None)


OWN = {"host": "localhost", "origin": "http://localhost"}


@pytest.mark.parametrize(
    "cookie", ["", "sessionid=", "sessionid=forged", "sessionid", "a=b", "sessionid=" + "x" * 4097]
)
async def test_an_invalid_session_proves_nothing(cookie: str) -> None:
    inside = await seen(scope(cookie=cookie, **OWN))
    assert (inside["identity"], inside["refusal"]) == (None, None)


async def test_sessions_can_be_disabled(bobs_cookie: str, settings: Settings) -> None:
    settings.SIGNALLING = {"SESSION_AUTH": False}
    assert (await seen(scope(cookie=bobs_cookie, **OWN)))["identity"] is None


async def test_the_session_of_an_inactive_user_proves_nothing(bob: User, bobs_cookie: str) -> None:
    bob.is_active = False
    await bob.asave()
    assert (await seen(scope(cookie=bobs_cookie, **OWN)))["identity"] is None


async def test_a_password_change_ends_the_session(bob: User, bobs_cookie: str) -> None:
    await sync_to_async(bob.set_password)(PASSWORD + "!")
    await bob.asave()
    assert (await seen(scope(cookie=bobs_cookie, **OWN)))["identity"] is None


async def test_a_token_takes_precedence_over_the_session(alice: User, bobs_cookie: str) -> None:
    token = f"Bearer {access_token(alice)}"
    assert (await seen(scope(cookie=bobs_cookie, authorization=token, **OWN)))["user"] == alice


# --- Origins ----------------------------------------------------------------------------------

origins = OriginMiddleware(None)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "http://localhost:5173"),  # CLIENT_URL
    ],
)
def test_pages_of_the_site_and_of_its_client_may_open_sockets(host: str, origin: str) -> None:
    assert origins.allows(scope(host=host), origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:9000"),
        ("localhost", "http://evil.example"),
        ("evil.example", "http://evil.example"),  # DNS rebinding
        ("localhost", "http://localhost.evil.example"),
        ("localhost", "https://localhost:5173"),
        ("localhost", "null"),
        ("localhost", ""),
        ("localhost", "http://["),
        ("localhost", "http://localhost:port"),
        ("", ""),
        ("localhost", "http://user@localhost"),
        ("localhost", "ftp://localhost"),
        ("localhost", "chrome-extension://localhost"),
    ],
)
def test_other_pages_may_not_open_sockets(host: str, origin: str) -> None:
    assert not origins.allows(scope(host=host), origin)


@pytest.mark.parametrize(
    ("options", "handshake"),
    [
        ({}, {"scheme": "wss"}),
        ({"SECURE_SSL_REDIRECT": True}, {"scheme": "ws"}),
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}, {"scheme": "ws"}),
    ],
)
def test_a_page_over_plain_http_is_not_of_a_site_that_uses_https(
    settings: Settings, options: dict[str, Any], handshake: dict[str, Any]
) -> None:
    for name, value in options.items():
        setattr(settings, name, value)
    inside = scope(host="calls.example.org", x_forwarded_proto="https") | handshake
    settings.ALLOWED_HOSTS = ["calls.example.org"]
    assert origins.allows(inside, "https://calls.example.org")
    assert not origins.allows(inside, "http://calls.example.org")


def test_a_site_that_is_not_known_to_use_https_has_pages_of_both_schemes(
    settings: Settings,
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for inside in (scope(host="localhost"), scope(host="localhost", x_forwarded_proto="http")):
        assert origins.allows(inside, "http://localhost")
        assert origins.allows(inside, "https://localhost")


async def test_rejected_origins_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("rooms.logs.time", clock)
    validator = OriginMiddleware(None)

    async def reject() -> list[str]:
        caplog.clear()
        assert await AppSocket(headers={"origin": "http://evil.example"}, app=validator).is_denied()
        return [record.getMessage() for record in caplog.records]

    assert len(await reject()) == 1
    now += 59
    assert await reject() == []
    assert await reject() == []
    now += 1
    (line,) = await reject()
    assert "http://evil.example" in line
    assert "3 since" in line


def test_allowed_origins_is_the_list_of_other_origins(settings: Settings) -> None:
    settings.SIGNALLING = {"ALLOWED_ORIGINS": ["https://app.example.org"]}
    assert origins.allows(scope(host="localhost"), "https://app.example.org")
    assert not origins.allows(scope(host="localhost"), "http://app.example.org")
    assert not origins.allows(scope(host="localhost"), "https://app.example.org:8443")
    assert not origins.allows(scope(host="localhost"), "http://localhost:5173")
    settings.SIGNALLING = {"ALLOWED_ORIGINS": ["*"]}
    assert origins.allows(scope(host="localhost"), "https://any.example.org")


def test_a_wildcard_in_allowed_hosts_allows_each_host_its_own_origin(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = [".example.org"]
    assert origins.allows(scope(host="calls.example.org"), "https://calls.example.org")
    assert not origins.allows(scope(host="calls.example.org"), "https://www.example.org")


async def test_a_page_of_another_origin_is_rejected_despite_a_valid_token(bob: User) -> None:
    socket = AppSocket(
        headers={"origin": "http://evil.example", "authorization": f"Bearer {access_token(bob)}"}
    )
    assert await socket.is_denied()


async def test_a_rejected_handshake_is_logged_without_its_token() -> None:
    socket = AppSocket(query="?a=1&token=secret", headers={"origin": "http://evil.example"})
    assert await socket.is_denied()
    assert socket.scope["query_string"] == b"a=1"


async def test_two_origin_headers_are_rejected(bob: User) -> None:
    socket = AppSocket()
    socket.scope["headers"] = [(b"origin", b"http://localhost:5173")] * 2
    assert await socket.is_denied()


async def test_a_client_without_an_origin_may_join(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.join()


async def test_the_client_may_join_from_its_own_origin(room: Room, bob: User) -> None:
    async with connected(bob, headers={"origin": "http://localhost:5173"}) as socket:
        await socket.join()


def test_the_stack_checks_the_address_first_and_then_the_origin() -> None:
    outer = SignallingMiddlewareStack("the consumer")
    assert isinstance(outer, AddressLimitMiddleware)
    stack = outer.application
    assert isinstance(stack, OriginMiddleware)
    surrounded = stack.application
    assert isinstance(surrounded, ContextMiddleware)
    assert isinstance(surrounded.application, JWTAuthMiddleware)
    assert surrounded.application.inner.application == "the consumer"


async def test_nothing_remains_in_the_channel_layer(room: Room, bob: User) -> None:
    async with connected(bob) as socket:
        await socket.join()
    assert set(get_channel_layer().groups) <= {pushes.GROUP}  # the worker's own
