from __future__ import annotations

from typing import Any

import pytest

from signalling.auth.identify import client_address, find_cookie


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
