"""Which origins are the site's own, and which ones ``ALLOWED_ORIGINS`` matches."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from signalling.auth import origins

SECURE = ("HTTP_X_FORWARDED_PROTO", "https")


def handshake(**headers: str) -> dict[str, Any]:
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "headers": lines}


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["calls.example.org", "[::1]"]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("calls.example.org", "https://calls.example.org"),
        ("calls.example.org:443", "https://calls.example.org"),
        ("calls.example.org", "https://calls.example.org:443"),
        ("calls.example.org:80", "http://calls.example.org"),
        ("Calls.Example.org", "https://calls.example.org"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("[::1]", "http://[::1]"),
    ],
)
def test_a_port_that_is_the_default_may_be_left_out(host: str, origin: str) -> None:
    assert origins.is_own(handshake(host=host), origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("calls.example.org:443", "http://calls.example.org"),
        ("calls.example.org:80", "https://calls.example.org"),
        ("calls.example.org", "https://calls.example.org:8443"),
        ("calls.example.org", "wss://calls.example.org"),
        ("calls.example.org", "null"),
        ("other.example.org", "https://other.example.org"),
    ],
)
def test_another_port_or_host_is_not_the_sites_own(host: str, origin: str) -> None:
    assert not origins.is_own(handshake(host=host), origin)


def test_the_host_that_a_proxy_forwards_counts_if_django_uses_it(settings: Settings) -> None:
    inside = handshake(host="10.0.0.7:8000", x_forwarded_host="calls.example.org")
    assert not origins.is_own(inside, "https://calls.example.org")
    settings.USE_X_FORWARDED_HOST = True
    assert origins.is_own(inside, "https://calls.example.org")
    assert not origins.is_own(inside, "http://10.0.0.7:8000")
    forged = handshake(host="calls.example.org", x_forwarded_host="evil.example")
    assert not origins.is_own(forged, "https://evil.example")


def test_a_header_with_an_underscore_is_not_that_of_a_proxy(settings: Settings) -> None:
    settings.USE_X_FORWARDED_HOST = True
    inside = handshake(host="x.example")
    inside["headers"].append((b"x_forwarded_host", b"calls.example.org"))
    assert not origins.is_own(inside, "https://calls.example.org")


def test_the_port_that_a_proxy_forwards_counts_if_django_uses_it(settings: Settings) -> None:
    inside = handshake(host="calls.example.org", x_forwarded_port="8443")
    assert origins.is_own(inside, "https://calls.example.org")
    settings.USE_X_FORWARDED_PORT = True
    assert origins.is_own(inside, "https://calls.example.org:8443")
    assert not origins.is_own(inside, "https://calls.example.org")


def test_the_scheme_that_a_proxy_forwards_counts_if_django_uses_it(settings: Settings) -> None:
    inside = handshake(host="calls.example.org", x_forwarded_proto="https, http")
    assert origins.is_own(inside, "http://calls.example.org")
    settings.SECURE_PROXY_SSL_HEADER = SECURE
    assert not origins.is_own(inside, "http://calls.example.org")


@pytest.mark.parametrize(
    "host", ["localhost:8000", "tea.localhost:8000", "127.0.0.1:8000", "[::1]:8000"]
)
def test_debug_allows_the_hosts_that_django_allows(settings: Settings, host: str) -> None:
    settings.ALLOWED_HOSTS = []
    assert not origins.is_own(handshake(host=host), f"http://{host}")
    settings.DEBUG = True
    assert origins.is_own(handshake(host=host), f"http://{host}")


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://app.example.org", "https://app.example.org:443"),
        ("HTTPS://App.example.org:443", "https://app.example.org"),
        ("https://*.example.org", "https://a.b.example.org"),
        ("https://.example.org", "https://example.org"),
        ("https://.example.org", "https://app.example.org"),
        ("http://localhost:*", "http://localhost:5173"),
        ("http://localhost:*", "http://localhost"),
        ("http://*.localhost:*", "http://tea.localhost:3000"),
        ("http://[::1]:*", "http://[::1]:5173"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("null", "null"),
        ("file://", "file://"),
        ("*", "null"),
        ("*", "https://any.example"),
    ],
)
def test_a_pattern_matches(pattern: str, origin: str) -> None:
    assert origins.is_allowed(origin, ["https://else.example", pattern])


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://*.example.org", "https://example.org"),
        ("https://*.example.org", "https://evilexample.org"),
        ("https://*.example.org", "http://app.example.org"),
        ("https://*.example.org", "https://app.example.org:8443"),
        ("https://.example.org", "https://evilexample.org"),
        ("http://localhost:*", "http://localhost.evil.example:80"),
        ("http://localhost:*", "https://localhost"),
        ("https://app.example.org", "https://user@app.example.org"),
        ("https://app.example.org", "null"),
        ("file://", "null"),
        ("null", "file:///etc"),
        ("null", "data:text/html"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, origin: str) -> None:
    assert not origins.is_allowed(origin, [pattern])


@pytest.mark.parametrize(
    "pattern",
    [
        "https://*",
        "https://*:*",
        "https://app.*.org",
        "https://app*.example.org",
        "https://bücher.example",
        "https://app.example.org:port",
        "file:///",
        "app.example.org:*",
    ],
)
def test_other_patterns_are_invalid(pattern: str) -> None:
    assert origins.parse_pattern(pattern) is None
