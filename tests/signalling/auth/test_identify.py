from __future__ import annotations

from typing import Any

import pytest

from signalling.auth.identify import client_address


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
