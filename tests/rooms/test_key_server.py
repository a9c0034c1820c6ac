"""The keys of ``JWK_URL``: when they are fetched, and which tokens wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import jwt
import pytest

from rooms import key_server
from rooms.key_server import KeyServer, KeysUnavailable

KEY = jwt.PyJWK.from_dict({"kty": "oct", "k": "a2V5", "kid": "known"}, "HS256")


class FakeClient:
    """A ``PyJWKClient`` whose server answers when ``may_answer`` is set."""

    uri = "https://keys.example.org"
    timeout = 30.0

    def __init__(self) -> None:
        self.fetches: list[float] = []
        self.answer: Any = [KEY]
        self.may_answer = threading.Event()
        self.may_answer.set()

    def get_signing_keys(self, refresh: bool = False) -> Any:
        self.fetches.append(self.timeout)
        assert refresh
        self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Server:
    """A ``KeyServer`` with its client, and a clock."""

    def __init__(self, now: SimpleNamespace) -> None:
        self.now = now
        self.client = FakeClient()
        client: Any = self.client
        self.keys = KeyServer(client)
        self.client = self.keys._client  # type: ignore[assignment]

    def fetch(self, kid: str = "known") -> bool:
        """Fetch the key of a token and wait for it. Return whether the token has to wait."""
        waited = self.keys.fetch(token(kid))
        if waited is not None:
            wait([waited])
        return waited is not None

    def look(self, kid: str = "known") -> str:
        try:
            assert self.keys.get_signing_key_from_jwt(token(kid)) is KEY
        except (jwt.PyJWKClientError, KeysUnavailable) as error:
            return type(error).__name__
        return "found"


def token(kid: str) -> str:
    return jwt.encode({}, "k" * 32, headers={"kid": kid})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    now = SimpleNamespace(time=1000.0)
    monkeypatch.setattr(key_server, "monotonic", lambda: now.time)
    return Server(now)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread."""
    event = threading.Event()
    while not condition():
        event.wait(0.001)


def test_the_keys_are_fetched_once_and_with_a_short_time_out(server: Server) -> None:
    assert server.fetch()
    assert server.look() == "found"
    for seconds in (0, key_server.PAUSE_SECONDS + 1):
        server.now.time += seconds
        assert not server.fetch()
        assert server.keys._running is None
    assert server.client.fetches == [key_server.SECONDS]


def test_an_unknown_key_is_fetched_after_a_pause_only(server: Server) -> None:
    server.fetch("unknown")
    assert server.look("unknown") == "PyJWKClientError"
    assert not server.fetch("unknown")
    server.now.time += key_server.PAUSE_SECONDS + 1
    assert server.fetch("unknown")
    assert len(server.client.fetches) == 2


def test_known_keys_are_fetched_again_in_time_and_no_token_waits(server: Server) -> None:
    server.fetch()
    server.now.time += key_server.FRESH_SECONDS + 1
    server.client.may_answer.clear()
    assert not server.fetch()
    assert server.look() == "found"
    server.client.answer = []  # the server has removed it
    server.client.may_answer.set()
    until(lambda: server.keys._running is None)
    assert server.look() == "PyJWKClientError"


def test_only_tokens_with_unknown_keys_notice_that_the_server_does_not_respond(
    server: Server,
) -> None:
    server.fetch()
    server.now.time += key_server.FRESH_SECONDS + 1
    server.client.answer = OSError("no route")
    assert server.fetch("unknown")
    assert server.look("unknown") == "KeysUnavailable"
    assert server.look() == "found"
    assert not server.fetch("unknown")  # not again at once
    server.now.time += key_server.STALE_SECONDS
    assert server.look() == "KeysUnavailable"


def test_no_token_waits_for_a_fetch_that_takes_too_long(server: Server) -> None:
    server.client.may_answer.clear()
    first = server.keys.fetch(token("known"))
    assert first is not None
    assert server.keys.fetch(token("other")) is first
    server.now.time += key_server.SECONDS + 0.1
    assert server.keys.fetch(token("known")) is None
    assert server.look() == "KeysUnavailable"
    server.client.may_answer.set()
    wait([first])
    assert server.look() == "found"
    assert len(server.client.fetches) == 1


@pytest.mark.parametrize("malformed", ["", "a.b.c", "é"])
def test_a_malformed_token_fetches_nothing(server: Server, malformed: str) -> None:
    assert server.keys.fetch(malformed) is None
    with pytest.raises(jwt.InvalidTokenError):
        server.keys.get_signing_key_from_jwt(malformed)
    assert server.client.fetches == []


def test_a_header_that_is_nested_too_deeply_is_malformed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(token: object) -> None:  # as PyJWT 2.13 does
        raise RecursionError

    monkeypatch.setattr(jwt, "get_unverified_header", decode)
    test_a_malformed_token_fetches_nothing(server, "")
