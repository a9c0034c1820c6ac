from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from signalling.auth import identify, sessions, tokens
from signalling.auth.identify import client_address, find_cookie, own_address
from signalling.auth.identity import TokenRefused
from signalling.protocol import ErrorCode
from signalling.throttling import failures


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (["2001:db8::1", 5], "2001:db8::/64"),
        (None, "unknown"),
        (("", 0), ""),
    ],
)
def test_the_address_is_a_throttling_key(client: Any, address: str) -> None:
    assert client_address({"client": client}) == address


def test_a_scope_may_have_no_client() -> None:
    assert client_address({}) == "unknown"


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ([], None),
        ([b"a=1"], None),
        ([b"sessionid=abc"], "abc"),
        ([b"a=1; sessionid=a:b=c ;d"], "a:b=c"),
        ([b"sessionid=1", b"sessionid=2"], "2"),
        ([b"sessionid"], ""),
    ],
)
def test_the_last_cookie_with_a_name_counts(cookies: list[bytes], value: str | None) -> None:
    headers = [(b"cookie", cookie) for cookie in cookies]
    assert find_cookie({"headers": headers}, "sessionid") == value


@pytest.mark.parametrize(
    ("client", "forwarded", "own"),
    [
        (None, [], None),
        (("", 0), [], None),
        (("127.0.0.1", 5), [], None),
        (("192.168.0.7", 5), [], None),
        (("8.8.8.8", 5), [], "8.8.8.8"),
        (("2a00:1450::1", 5), [], "2a00:1450::/64"),
        (("10.0.0.1", 5), [], None),  # the trusted proxy itself
        (("10.0.0.1", 5), [b"192.168.0.7"], "192.168.0.7"),
        (None, [b"192.0.2.9"], "192.0.2.9"),  # through a Unix socket
        (("", 5), [b"192.0.2.9"], "192.0.2.9"),
    ],
)
def test_an_address_that_may_be_that_of_a_proxy_is_not_counted(
    settings: Settings, client: Any, forwarded: list[bytes], own: str | None
) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": ["10.0.0.0/8", "unix"]}
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    assert own_address({"client": client, "headers": headers}) == own


@pytest.mark.parametrize(
    ("code", "address", "wait", "details"),
    [
        (ErrorCode.TOKEN_INVALID, "192.0.2.1", 4, {"retry_after": 4}),
        (ErrorCode.TOKEN_INVALID, "192.0.2.1", 0, {}),
        (ErrorCode.TOKEN_INVALID, None, 4, {}),
        (ErrorCode.TOKEN_EXPIRED, "192.0.2.1", 4, {}),
    ],
)
@pytest.mark.django_db
async def test_only_invalid_tokens_from_a_known_address_cause_a_delay(
    monkeypatch: pytest.MonkeyPatch,
    code: ErrorCode,
    address: str | None,
    wait: int,
    details: dict[str, Any],
) -> None:
    def refuse(token: str) -> None:
        raise TokenRefused(code)

    monkeypatch.setattr(tokens, "authenticate", refuse)
    monkeypatch.setattr(failures, "wrong_token", lambda address: wait)
    with pytest.raises(TokenRefused) as refused:
        await identify.identify_token("token", address)
    assert (refused.value.code, refused.value.details) == (code, details)


@pytest.mark.parametrize(("length", "is_read"), [(0, False), (4096, True), (4097, False)])
@pytest.mark.django_db
async def test_a_session_cookie_has_a_length_that_browsers_store(
    monkeypatch: pytest.MonkeyPatch, length: int, is_read: bool
) -> None:
    monkeypatch.setattr(sessions, "identify", lambda key: key)
    scope = {"headers": [(b"cookie", b"sessionid=" + b"x" * length)]}
    assert (await identify.identify_session(scope) is not None) is is_read
