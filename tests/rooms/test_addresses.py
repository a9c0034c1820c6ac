from __future__ import annotations

import pytest
from django.http import HttpRequest
from django.test import RequestFactory
from pytest_django import Settings
from rest_framework.request import Request

from rooms import addresses
from rooms.addresses import client_address, is_public, network, request_address
from rooms.api.throttling import AnonRateThrottle
from signalling.auth import identify

PROXIES = ["10.0.0.0/8", "2001:db8:ffff::/48"]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),  # an IPv4 client of a dual-stack socket
        ("unknown", "unknown"),
        ("", ""),
        ("/run/daphne.sock", "/run/daphne.sock"),
    ],
)
def test_an_ipv6_client_is_identified_by_its_network(address: str, key: str) -> None:
    assert network(address) == key


def test_the_scope_of_a_link_local_address_raises_nothing() -> None:
    assert network("fe80::1%eth0")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        # a client without a proxy can claim what it likes
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", ["192.0.2.9"], "198.51.100.1"),
        ("127.0.0.1", ["192.0.2.9"], "127.0.0.1"),
        (None, ["192.0.2.9"], "unknown"),
        # the last address that no trusted proxy has
        ("10.0.0.1", ["192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["192.0.2.66, 192.0.2.9"], "192.0.2.9"),
        ("10.0.0.1", ["10.6.6.6, 192.0.2.9, 10.0.0.2"], "192.0.2.9"),
        ("10.0.0.1", ["192.0.2.66", "192.0.2.9"], "192.0.2.9"),  # two headers are one list
        ("::ffff:10.0.0.1", ["192.0.2.9"], "192.0.2.9"),
        ("2001:db8:ffff::1", ["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["192.0.2.9:4711"], "192.0.2.9"),
        ("10.0.0.1", ["[2001:db8:1:2::9]:4711"], "2001:db8:1:2::/64"),
        # all are proxies, or the rest is garbage: the last address that is known to be true
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["192.0.2.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.9, <script>, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
    ],
)
def test_only_trusted_proxies_name_the_client(
    settings: Settings, peer: str | None, forwarded: list[str], client: str
) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": PROXIES}
    assert client_address(peer, forwarded) == client


@pytest.mark.parametrize("peer", [None, ""])
def test_a_proxy_may_connect_through_a_unix_socket(settings: Settings, peer: str | None) -> None:
    assert client_address(peer, ["192.0.2.9"]) in {"unknown", ""}
    settings.SIGNALLING = {"TRUSTED_PROXIES": ["unix"]}
    assert client_address(peer, ["192.0.2.9"]) == "192.0.2.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "messages"),
    [
        ("127.0.0.1", ["192.0.2.9"], 1),
        ("172.18.0.5", ["192.0.2.9"], 1),
        (None, ["192.0.2.9"], 1),
        ("172.18.0.5", [], 0),
        ("10.0.0.1", ["192.0.2.9"], 0),  # trusted
        ("8.8.8.8", ["192.0.2.9"], 0),  # any client can send the header
    ],
)
def test_a_proxy_that_seems_to_be_missing_in_the_setting_is_logged_once(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    peer: str | None,
    forwarded: list[str],
    messages: int,
) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": PROXIES}
    addresses._untrusted.reset()
    for _ in range(3):
        client_address(peer, forwarded)
    assert len(caplog.records) == messages


@pytest.mark.parametrize("proxies", [[], PROXIES])
def test_sockets_requests_and_throttles_agree(settings: Settings, proxies: list[str]) -> None:
    settings.SIGNALLING = {"TRUSTED_PROXIES": proxies}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 7}
    forwarded = "192.0.2.66, 192.0.2.9"
    expected = "192.0.2.9" if proxies else "10.0.0.1"
    request = RequestFactory(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded).get("/")
    assert isinstance(request, HttpRequest)
    scope = {
        "client": ("10.0.0.1", 4711),
        "headers": [(b"x-forwarded-for", b"192.0.2.66"), (b"x-forwarded-for", b"192.0.2.9")],
    }
    assert request_address(request) == expected
    assert AnonRateThrottle().get_ident(Request(request)) == expected
    assert identify.client_address(scope) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("::ffff:8.8.8.8", True),
        ("2a00:1450::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("192.168.1.1", False),
        ("fd00::1", False),
        ("fe80::1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    assert is_public(address) is expected
